#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/graph/shrink.h"
#include "prunus/solve/pattern.h"
#include "prunus/solve/solver.h"

namespace prunus {

/// What stays of one group set, and why.
struct PlanEntry {
  Keep keep;
  int64_t units = 0;           ///< before pruning
  std::vector<double> scores;  ///< [units], higher = keep; may be empty in a plan written by hand
};

/// Zeros in the matrices of what stays. Which weights they are stands in masks/ beside the plan
/// (docs/formats/mask.md).
struct PlanMask {
  Pattern pattern;
  double sparsity = 0;
  std::string sha256;  ///< of the masks (sha256_of_masks)
};

/// How what stays is updated, and on which text: windows drawn from a file by a seed, known by a
/// hash, so that the same plan gives the same weights.
struct PlanSolver {
  std::string name;
  SolverOptions options;
  std::string text;  ///< the file, as it was named
  int64_t samples = 0;
  int64_t tokens = 0;  ///< of a sample
  uint64_t seed = 0;
  std::string windows_sha256;  ///< of the windows' ids, windows_sha256()
};

/// SHA-256 that a plan knows windows of token ids by.
std::string windows_sha256(const std::vector<std::vector<int64_t>>& windows);

/// The hinge of the program: everything before it only reads the model, everything after only
/// executes it. Saved as plan.json (docs/formats/plan.md).
struct Plan {
  std::string method;         ///< free text for the reader
  std::string config_sha256;  ///< of the config.json it was made for; empty: not recorded
  std::vector<PlanEntry> entries;
  std::optional<PlanMask> mask = {};
  std::optional<PlanSolver> solver = {};

  std::vector<Keep> keeps() const;
  /// Which tokens stay; null where all do.
  const PlanEntry* vocabulary() const;
};

Json to_json(const Plan& plan);

/// Throws Corrupt naming `where` and the entry on anything that is not a plan of this version.
Plan plan_from_json(const Json& json, const std::string& where);

/// What the plan leaves of the model, before any solver: cut by its keeps (query heads inside the
/// KV groups that stay), with the zeros of the masks in `mask_dir`
/// where it has some. Throws as shrink(); NotFound where the masks are missing; Corrupt where they
/// are not those that the plan was made with.
Model result_of(const Model& model, const Plan& plan, const std::string& mask_dir);

/// Throws InvalidArgument where the plan's layers, axes or unit counts are not the model's.
void check_plan(const Plan& plan, const Model& model);

}  // namespace prunus
