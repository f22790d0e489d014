#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"

namespace prunus {

/// Final norm, output projection and cross-entropy, over pieces of the tokens and of the
/// vocabulary, so that neither the FP32 head nor all logits are ever in memory at once.
/// Peak memory: 128 MiB of logits and 64 MiB of weights besides the arguments.
class Head {
 public:
  /// Reads the final norm; the head is read anew, piece by piece, in every call.
  Head(const Model& model, at::Device device);

  /// Logits [tokens, vocab_size] FP32 of hidden states [tokens, hidden_size]: for few tokens.
  at::Tensor logits(const at::Tensor& hidden) const;

  /// −log p(target) per token, FP32 [tokens], in nats. targets int64 [tokens].
  at::Tensor token_nll(const at::Tensor& hidden, const at::Tensor& targets) const;

  struct Loss {
    double nll_sum = 0;      ///< nats
    at::Tensor grad_hidden;  ///< d(scale · nll_sum)/d hidden, [tokens, hidden_size]
  };
  Loss loss_and_gradient(const at::Tensor& hidden, const at::Tensor& targets, double scale) const;

 private:
  template <typename Use>
  void for_each_token_chunk(const at::Tensor& hidden, Use use) const;
  template <typename Use>
  void for_each_vocab_chunk(Use use) const;
  at::Tensor chunk_logits(const at::Tensor& normed) const;

  const Model& model_;
  const TensorInfo& weight_;
  at::Device device_;
  at::Tensor norm_;
  mutable bool checked_ = false;  // the head's values are checked the first time they are read
};

}  // namespace prunus
