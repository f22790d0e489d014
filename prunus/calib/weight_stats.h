#pragma once
#include <ATen/core/Tensor.h>

namespace prunus {

/// What a criterion must be told about a weight matrix before it can score its slices.
enum class Needs {
  Nothing,   ///< sizes only
  Weights,   ///< the weights
  Saliency,  ///< Σ W·g per row and per column: no weight gradient is formed
  Gradient,  ///< the weights and dL/dW
};

/// One weight matrix W [out, in] of a linear layer as calibration saw it, g = dL/dW.
/// Only what the criterion's Needs ask for is defined.
struct WeightStats {
  at::Tensor weight;           ///< FP32 [out, in]
  at::Tensor gradient;         ///< FP32 [out, in]
  at::Tensor row_saliency;     ///< FP64 [out]: Σ_i W[k,i]·g[k,i], signed
  at::Tensor column_saliency;  ///< FP64 [in]:  Σ_o W[o,k]·g[o,k], signed
};

}  // namespace prunus
