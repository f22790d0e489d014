#pragma once
#include <cstdint>
#include <vector>

#include "prunus/budget/budget.h"
#include "prunus/calib/stream.h"
#include "prunus/criteria/criterion.h"
#include "prunus/pipeline/conventions.h"
#include "prunus/pipeline/method.h"
#include "prunus/pipeline/reduction.h"

namespace prunus {

struct ScoreOptions {
  uint64_t seed = 0;  ///< for criteria that draw, and of the tokens of Objective::Divergence
  Objective objective = Objective::CrossEntropy;  ///< what is differentiated
  at::Device device = at::Device(at::kCPU);
  Reduction reduction = Reduction::Sum;
  Members members = Members::All;
  const Conventions* conventions = &conventions::own;
  /// ScoredSet::deviation is measured (for Normalisation::Standard), where one member is scored.
  bool deviations = false;
  StreamStore* store = nullptr;  ///< for hidden states and resuming; null: everything in RAM
  int64_t ram_bytes = -1;        ///< for those that no store holds (RemovalOptions)
  int64_t run = 1;               ///< layers that go as one, where the criterion scores runs
  /// Per set, where the criterion chooses: units that are to go; empty: 0. Such a set has no
  /// shares.
  std::vector<int64_t> removed = {};
};

/// Importance of every unit of every set: each tensor of the set that `members` names is scored
/// slice by slice along the cut dimension, folded into units, and reduced over the tensors
/// (pipeline/reduction.h). Of a layer_set(), whose units are layers, by Criterion::layer,
/// layer_matrix or run; of layers and part_sets() by what removing them does (pipeline/removal.h).
struct Scores {
  std::vector<ScoredSet> sets;
  double loss = 0;  ///< mean calibration loss in nats per token; 0 where none was needed
};

/// `batches` may be empty for criteria that need no calibration. `range` must cover the sets, and
/// begin at 0 where they cut the hidden dimension.
/// The criterion's needs decide what runs: nothing, the weights, the forward pass (of one layer at
/// a time, statistics of which are dropped when it is scored), the backward pass, or one forward
/// pass with many ends. Throws InvalidArgument where batches are missing, or the criterion has no
/// score for the sets; Numeric if the loss is not finite; Interrupted; Io, Corrupt as the store.
/// Source: LLM-Pruner section 3.2 and eq. 3-6.
Scores score_groups(const Model& model, const std::vector<GroupSet>& sets,
                    const Criterion& criterion, const std::vector<TokenBatch>& batches,
                    LayerRange range, const ScoreOptions& options);

/// Whether a criterion's scores of those members follow from the weights and the second moments of
/// their inputs (stats::hessian), one input at a time.
bool scores_by_moments(const Criterion& criterion, Members members);

/// Scores of sets of one layer as score_groups(), whose members by Members::Consumers all read one
/// input, that of `role`. `weights`: of the layer; `moments` FP64 [in, in]: Σ x·xᵀ of `tokens`
/// tokens. `criterion` scores by moments.
std::vector<ScoredSet> score_by_moments(const Model& model, const std::vector<GroupSet>& sets,
                                        const Criterion& criterion, const BlockWeights& weights,
                                        Role role, const at::Tensor& moments, int64_t tokens,
                                        const ScoreOptions& options);

}  // namespace prunus
