#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include <c10/core/Device.h>

#include "prunus/calib/vocab_pass.h"
#include "prunus/pipeline/score.h"

namespace prunus {

/// A layer, or one part of it, that a model might do without.
struct Removal {
  int layer = 0;
  std::optional<SubLayer> part = std::nullopt;  ///< null: the whole layer
};

struct RemovalOptions {
  at::Device device = at::Device(at::kCPU);
  int64_t ram_bytes = -1;  ///< for hidden states, of two streams at least; −1: half of what is free
};

struct RemovalLosses {
  double whole = 0;             ///< of the model as it is
  std::vector<double> without;  ///< of the model without each of the units
};

/// The mean next-token loss, in nats, of `model` without each of `units` alone (ascending by
/// layer). In front of a layer all models without it or a later one are the same, so that one walk
/// measures them all: the whole model's stream begins one of its own at each unit, which the layers
/// behind take along. Every family, also with parallel parts or norms behind the sum: a part goes
/// as shrink() takes it out. Cost, of n layers: about n²/2 layers for all layers, n² for all parts,
/// and the head once for each unit. Memory: a layer, and a stream [tokens, hidden_size] for each
/// unit under way and one for the whole model. Where all units need more than `ram_bytes` they go
/// in waves, each from where the last one left the whole model's stream, to the same losses. Throws
/// Numeric where a loss is not finite; Interrupted.
RemovalLosses losses_without(const Model& model, const std::vector<Removal>& units,
                             const std::vector<TokenBatch>& batches, const RemovalOptions& options);

/// losses_without() as the scores of sets whose units are layers or parts. The loss is that of the
/// model as it is.
Scores removal_scores(const Model& model, const std::vector<GroupSet>& sets,
                      const std::vector<TokenBatch>& batches, const RemovalOptions& options);

/// Needs removals. Source: Kim et al., arXiv:2402.02834 (the perplexity, which ranks alike); Song
/// et al., arXiv:2402.09025.
extern const Criterion loss_without;

}  // namespace prunus
