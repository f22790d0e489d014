#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "prunus/job/work_folder.h"
#include "prunus/pipeline/prune.h"

namespace prunus {

/// The state of a `prunus prune` in its work folder, as make_plan sees it: hidden states and
/// gradients of the step under way in step-N/, the plans of finished steps in step-N.json, masks in
/// masks/ (docs/formats/work.md). `ram_bytes` as StreamStore. The folder must outlive what is
/// returned.
PlanContext plan_context(const WorkFolder& folder, int64_t ram_bytes,
                         std::function<std::vector<TokenBatch>(int64_t step)> calibration);

/// WorkFolder::Options::is_state for it: a finished step, or a finished layer of one.
bool is_plan_state(const std::string& file_name);

}  // namespace prunus
