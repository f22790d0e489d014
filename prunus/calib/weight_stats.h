#pragma once
#include <ATen/core/Tensor.h>

namespace prunus {

/// What a criterion must be told about a weight before it can score its slices.
enum class Needs {
  Nothing,       ///< sizes only
  Weights,       ///< the weights
  ExpertOutput,  ///< how much the experts of a mixture put out: forward pass only
  Saliency,      ///< Σ W·g per row and per column: no weight gradient is formed
  Gradient,      ///< the weights and dL/dW
  Squares,       ///< the weights and the mean squared per-sample gradient
  GradientAndSquares,
};

inline bool needs_calibration(Needs needs) { return needs > Needs::Weights; }
inline bool needs_gradient(Needs needs) {
  return needs == Needs::Gradient || needs == Needs::GradientAndSquares;
}
inline bool needs_squares(Needs needs) { return needs >= Needs::Squares; }

/// One weight W [out, in] as calibration saw it, g = dL/dW, or some rows of it. A vector (the gain
/// of a norm) is a matrix of one column. Only what the criterion's Needs ask for is defined.
/// L is the mean loss over all samples, L_j that of sample j alone: g = (1/N)·Σ_j ∂L_j/∂W.
struct WeightStats {
  at::Tensor weight;            ///< [out, in]
  at::Tensor gradient;          ///< [out, in]
  at::Tensor squared_gradient;  ///< [out, in]: (1/N)·Σ_j (∂L_j/∂W)², the diagonal of the Fisher
  at::Tensor row_saliency;      ///< FP64 [out]: Σ_i W[k,i]·g[k,i], signed
  at::Tensor bias;              ///< [out], where it counts
  at::Tensor bias_gradient;     ///< [out]
  at::Tensor squared_bias_gradient;  ///< [out]
  at::Tensor bias_saliency;          ///< FP64 [out]: b[k]·g_b[k] of a norm, part of row_saliency
  at::Tensor column_saliency;        ///< FP64 [in]:  Σ_o W[o,k]·g[o,k], signed
  /// Of a mixture, as part of its router, whose rows are the experts. FP64 [experts]:
  at::Tensor output_norm;    ///< Σ ‖g_e(x)·f_e(x)‖₂ over the tokens x that chose expert e
  at::Tensor routed_tokens;  ///< how many these are
};

}  // namespace prunus
