#pragma once
// What the statistics of weights in calib/stats have in common: sums over the tokens that go
// through a matrix product or a gain. The sums of a mixture's experts are one tensor, and each
// product adds to its expert's part; an expert that no token chose adds nothing, so its part is 0.
#include <ATen/core/Tensor.h>

#include "prunus/calib/collector.h"
#include "prunus/calib/statistic.h"

namespace prunus {

/// sum += part; the first part becomes the sum, and is written to by the next.
void add_to(at::Tensor& sum, const at::Tensor& part);

/// The same for a part that lies along axis 0 of the site's weight ([out]) or axis 1 ([in]).
void add_along(at::Tensor& sum, const at::Tensor& part, const LinearSite& site, int64_t axis);

/// sum += Σ_t grad_output[t]ᵀ·input[t], [out, in], in the stream's precision.
void add_gradient(at::Tensor& sum, const BackwardProduct& product);

/// squares += Σ_j N·G_j² with G_j = Σ_t grad_output[t]ᵀ·input[t] over the tokens of sample j, [out,
/// in] in the stream's precision (FP32 or FP64, never half): the loss is a mean over N samples, so
/// one's own gradient is N times its part of it. `gradient`, unless null, += Σ_j G_j from the same
/// products. A sample's gradient exists for a few rows at a time.
void add_sample_gradients(at::Tensor& squares, at::Tensor* gradient,
                          const BackwardProduct& product);

/// The gradient at the bias for each sample, [batch, out]; undefined where there is none or it does
/// not count.
at::Tensor bias_gradients(const BackwardProduct& product, Biases biases);

/// The gradient at the gain for each sample, FP64 [batch, hidden_size].
at::Tensor gain_gradients(const BackwardGain& gain);

}  // namespace prunus
