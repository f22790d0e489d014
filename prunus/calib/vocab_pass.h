#pragma once
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/collector.h"
#include "prunus/model/lm_head.h"
#include "prunus/model/model.h"
#include "prunus/model/objective.h"

namespace prunus {

/// Token ids that go through the model together.
struct TokenBatch {
  at::Tensor ids;  ///< int64 [batch, seq] on the CPU; rows may be padded on the right
};

/// The two ends of the backward pass: loss and head, and the embedding. The gradient of a V × H
/// matrix never exists: a collector sees some rows of it at a time.
class VocabPass {
 public:
  /// `seed`: of the tokens that are drawn for Objective::Divergence.
  VocabPass(const Model& model, at::Device device, const std::vector<TokenBatch>& batches,
            Objective objective = Objective::CrossEntropy, uint64_t seed = 0);

  struct Result {
    double loss = 0;                ///< of the objective, mean over all predicted tokens, in nats
    std::vector<at::Tensor> grads;  ///< d loss / d hidden, per batch [batch, seq, hidden_size]
  };
  /// The objective by the last layer's hidden states. They, all gradients of them and what is
  /// kept per token in between are in host memory, on the device batch by batch. Shows the
  /// collector the final norm and an untied head where it wants them. Throws Numeric if the loss is
  /// not finite.
  Result head(const std::vector<at::Tensor>& hidden, Collector& collector) const;

  /// Shows the embedding. grads: d loss / d embedding output, per batch. `hidden`: of the last
  /// layer, used where the embedding is tied to the head, whose part is then added.
  void embedding(const std::vector<at::Tensor>& grads, const std::vector<at::Tensor>& hidden,
                 Collector& collector) const;

 private:
  // What is known of a batch's predictions, and the tokens that they should be.
  struct Predictions {
    std::vector<LmHead::Loss> losses;
    std::vector<at::Tensor> targets;
  };
  Predictions predictions(const std::vector<at::Tensor>& hidden) const;
  void show_final_norm(const std::vector<LmHead::Loss>& losses, Collector& collector) const;
  void show_head(const Predictions& predictions, const std::vector<at::Tensor>& grads,
                 Collector& collector) const;
  void show_used_rows(const std::vector<at::Tensor>& grads, Collector& collector) const;

  const Model& model_;
  at::Device device_;
  const std::vector<TokenBatch>& batches_;
  Objective objective_;
  uint64_t seed_;
  std::vector<at::Tensor> text_;  // per batch [batch · (seq − 1)]
  int64_t predicted_ = 0;
  int64_t samples_ = 0;
  LmHead head_;
};

}  // namespace prunus
