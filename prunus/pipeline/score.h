#pragma once
#include <cstdint>
#include <vector>

#include "prunus/budget/budget.h"
#include "prunus/calib/stream.h"
#include "prunus/criteria/criterion.h"

namespace prunus {

struct ScoreOptions {
  uint64_t seed = 0;  ///< for criteria that draw
  at::Device device = at::Device(at::kCPU);
};

/// Importance of every unit of every set: each matrix of the set is scored slice by slice along the
/// cut dimension, slices are summed into their unit, units are summed over the matrices
/// (LLM-Pruner's `sum`; a query head counts for the KV group it is removed with).
struct Scores {
  std::vector<ScoredSet> sets;
  double loss = 0;  ///< mean calibration loss in nats per token; 0 where none was needed
};

/// `batches` may be empty for criteria that need no calibration. `range` must cover the sets.
/// Source: docs of the formula: LLM-Pruner section 3.2 and eq. 3-6.
Scores score_groups(const Model& model, const std::vector<GroupSet>& sets,
                    const Criterion& criterion, const std::vector<TokenBatch>& batches,
                    LayerRange range, const ScoreOptions& options);

}  // namespace prunus
