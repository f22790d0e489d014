#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/graph/shrink.h"

namespace prunus {

/// What stays of one group set, and why.
struct PlanEntry {
  Keep keep;
  int64_t units = 0;           ///< before pruning
  std::vector<double> scores;  ///< [units], higher = keep; may be empty in a plan written by hand
};

/// The hinge of the program: everything before it only reads the model, everything after only
/// executes it. Saved as plan.json (docs/formats/plan.md).
struct Plan {
  std::string method;         ///< free text for the reader
  std::string config_sha256;  ///< of the config.json it was made for; empty: not recorded
  std::vector<PlanEntry> entries;

  std::vector<Keep> keeps() const;
};

Json to_json(const Plan& plan);

/// Throws Corrupt naming `where` and the entry on anything that is not a plan of this version.
Plan plan_from_json(const Json& json, const std::string& where);

/// Throws InvalidArgument where the plan's layers, axes or unit counts are not the model's.
void check_plan(const Plan& plan, const Model& model);

}  // namespace prunus
