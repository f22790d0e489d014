#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

namespace prunus {

/// What training minimises, per predicted token:
///   ce·(−log q(target)) + kl·T²·KL(p_T ‖ q_T) + seam·(squared distance at the seams),
/// p the teacher's and q the student's distribution, p_T and q_T those of logits / T.
/// Source: Hinton et al., arXiv:1503.02531 section 2 (the factor T² keeps gradients in proportion).
struct LossWeights {
  double ce = 1.0;
  double kl = 0.0;
  double temperature = 1.0;  ///< T > 0
  /// 0: the whole vocabulary. K: the teacher's K likeliest tokens and one bucket for the rest, on
  /// both sides; a lower bound of the full KL.
  int64_t top_k = 0;
  /// Weight of ‖h − h'‖² / mean‖h'‖² at the output of each layer that stands before removed ones,
  /// h' the teacher's hidden state where the removed layers end.
  double seam = 0.0;
  bool needs_teacher() const { return kl > 0 || seam > 0; }
};

/// Sums over predicted tokens.
struct LossSums {
  double objective = 0;  ///< of the whole expression
  double ce = 0;         ///< −log q(target), nats
  double kl = 0;         ///< KL, nats, without T²
  double seam = 0;       ///< relative squared distance, summed over seams
  int64_t targets = 0;
  LossSums& operator+=(const LossSums& other);
};

/// Loss of some tokens, and its gradient written over `logits` where `want_gradient`.
/// logits FP32 [tokens, vocab], used up; targets int64 [tokens]; teacher FP32 [tokens, vocab], used
/// up, or undefined where weights.kl is 0 (KL then counts as 0).
/// Gradient: d objective / d logits = ce·(q − onehot) + kl·T·(q_T − p_T); with a bucket r outside
/// the kept tokens: kl·T·q_T·(1 − p_r/q_r) there. (The seam is no part of this.)
LossSums logits_loss(at::Tensor& logits, const at::Tensor& targets, at::Tensor teacher,
                     const LossWeights& weights, bool want_gradient);

}  // namespace prunus
