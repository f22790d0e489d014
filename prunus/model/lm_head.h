#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/final_norm.h"
#include "prunus/model/model.h"

namespace prunus {

/// Final norm, output projection and cross-entropy, over pieces of the tokens and of the
/// vocabulary, so that neither the FP32 head nor all logits are ever in memory at once.
/// Peak memory besides arguments and results: 64 MiB of weights, and 4 MiB of logits (with a soft
/// cap 8); 64 MiB of logits, with a soft cap 128, for the gradients of the head's own weight.
class LmHead {
 public:
  /// Reads the final norm; the head is read anew, piece by piece, in every call.
  LmHead(const Model& model, at::Device device);

  /// Logits [tokens, vocab_size] FP32 of hidden states [tokens, hidden_size]: for few tokens.
  at::Tensor logits(const at::Tensor& hidden) const;

  struct Scored {
    at::Tensor log_p;      ///< log p(target), FP32 [n], in nats
    at::Tensor likeliest;  ///< bool [n]: no id is likelier than the target
  };
  /// Of n pairs of a place, int64 [n] into hidden's tokens, and a target id, int64 [n]. Logits are
  /// computed some ids at a time in memory that is used again, with running maxima and sums.
  Scored score(const at::Tensor& hidden, const at::Tensor& places, const at::Tensor& targets) const;

  /// −log p(target) per token, FP32 [tokens], in nats. targets int64 [tokens].
  at::Tensor token_nll(const at::Tensor& hidden, const at::Tensor& targets) const;

  struct Loss {
    double nll_sum = 0;      ///< nats; of entropy_and_gradient() the sum of the entropies
    at::Tensor grad_hidden;  ///< d(scale · nll_sum)/d hidden, [tokens, hidden_size]
    at::Tensor normalised;   ///< hidden states, normalised, [tokens, hidden_size]
    at::Tensor grad_normed;  ///< d(scale · nll_sum)/d (normalised · gain), [tokens, hidden_size]
    at::Tensor log_sum_exp;  ///< of the logits, [tokens]
    at::Tensor entropy;      ///< [tokens], of entropy_and_gradient() alone
  };
  /// In one pass over the head: each piece of the logits is exponentiated under the largest so far
  /// and multiplied by its rows of the head at once, in memory that is used again.
  Loss loss_and_gradient(const at::Tensor& hidden, const at::Tensor& targets, double scale) const;

  /// The same of the entropy −Σ p·log p of each token's prediction, in two passes over the head.
  Loss entropy_and_gradient(const at::Tensor& hidden, double scale) const;

  /// A token for each hidden state, drawn from what it predicts: int64 [tokens]. Noise is drawn
  /// from a generator of that seed, piece by piece: the same seed and sizes give the same draws.
  /// One pass over the head.
  at::Tensor draw(const at::Tensor& hidden, uint64_t seed) const;

  /// What gradients of the head's own weight are made of, some rows [begin, begin + count) of it at
  /// a time and for these every batch in turn:
  /// use(begin, weight [count, hidden_size], batch, grad_logits [tokens, count]).
  /// losses[i] is of targets[i] and the same scale; the logits are computed again. Its hidden
  /// states may be in host memory.
  using UseRows = std::function<void(int64_t begin, const at::Tensor& weight, size_t batch,
                                     const at::Tensor& grad_logits)>;
  void for_each_weight_rows(const std::vector<Loss>& losses, const std::vector<at::Tensor>& targets,
                            double scale, const UseRows& use) const;
  const FinalNorm& norm() const { return norm_; }

 private:
  class LossSums;
  template <typename Use>
  void for_each_logits(const at::Tensor& normed, Use use) const;
  template <typename Use>
  void for_each_piece(int64_t tokens, Use use) const;
  template <typename Use>
  void for_each_vocab_chunk(int64_t max_rows, Use use) const;
  at::Tensor chunk_logits(const at::Tensor& normed) const;

  const Model& model_;
  const TensorInfo& weight_;
  at::Device device_;
  FinalNorm norm_;
  mutable std::atomic<bool> checked_ =
      false;  // the head's values are checked the first time they are read
};

}  // namespace prunus
