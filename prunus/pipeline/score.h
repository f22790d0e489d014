#pragma once
#include <cstdint>
#include <vector>

#include "prunus/budget/budget.h"
#include "prunus/calib/stream.h"
#include "prunus/criteria/criterion.h"
#include "prunus/pipeline/reduction.h"

namespace prunus {

struct ScoreOptions {
  uint64_t seed = 0;  ///< for criteria that draw
  at::Device device = at::Device(at::kCPU);
  Reduction reduction = Reduction::Sum;
  Compat compat = Compat::None;
  StreamStore* store = nullptr;  ///< for hidden states and resuming; null: everything in RAM
};

/// Importance of every unit of every set: each tensor of the set is scored slice by slice along the
/// cut dimension, folded into units, and reduced over the tensors (pipeline/reduction.h). Criteria
/// that need Needs::ExpertOutput score the experts of a mixture as a whole instead.
struct Scores {
  std::vector<ScoredSet> sets;
  double loss = 0;  ///< mean calibration loss in nats per token; 0 where none was needed
};

/// `batches` may be empty for criteria that need no calibration. `range` must cover the sets, and
/// begin at 0 where they cut the hidden dimension.
/// Needs::ExpertOutput takes a forward pass alone, through all layers, with one layer's hidden
/// states in RAM. It makes no use of the store: an interrupted step is scored anew, to the same
/// result, while finished steps are not done again.
/// Throws InvalidArgument where batches are missing, or sets are not experts under ExpertOutput;
/// Numeric if the loss is not finite; Interrupted; Io, Corrupt as the store.
/// Source: LLM-Pruner section 3.2 and eq. 3-6.
Scores score_groups(const Model& model, const std::vector<GroupSet>& sets,
                    const Criterion& criterion, const std::vector<TokenBatch>& batches,
                    LayerRange range, const ScoreOptions& options);

}  // namespace prunus
