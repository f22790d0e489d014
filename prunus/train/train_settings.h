#pragma once
#include <map>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/train/trainer.h"

namespace prunus {

// The options of training that a resumed run may change: learning rate and schedule, clipping,
// length, how often to validate and when to give up. They say where a run goes on to, not what its
// state is. Everything else that decides the result is part of the job's identity.

/// Their values in force, as JSON text by name.
std::map<std::string, std::string> changeable_settings(const TrainerOptions& options);

/// Which of them differ from an earlier run's. One that the earlier run did not have is not
/// compared.
std::vector<OptionChange> changed_settings(const std::map<std::string, std::string>& before,
                                           const std::map<std::string, std::string>& now,
                                           int64_t step);

/// Appends changes to those of earlier resumptions. Of two at one step, between which nothing was
/// trained, only what they come to is left.
void add_changes(std::vector<OptionChange>& all, const std::vector<OptionChange>& more);

/// "lr 0.001 -> 0.0001, clip 1.0 -> 0.5".
std::string to_text(const std::vector<OptionChange>& changes);

/// As in run.json: one object per step with changes, {"step": 40, "lr": [0.001, 0.0001]}.
Json to_json(const std::vector<OptionChange>& changes);

}  // namespace prunus
