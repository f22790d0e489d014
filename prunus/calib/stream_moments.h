#pragma once
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"

namespace prunus {

/// Second moments of the residual stream as the parts and the head see it: Σ x·xᵀ over all tokens
/// and all norms in front of parts and head, x what the norm gives before its gain. FP64
/// [hidden_size, hidden_size] on the CPU; products of a batch in the model's precision(), their sum
/// in FP64. One walk, a layer at a time. Throws Interrupted, and as BlockStream::embed().
/// Source: Ashkboos et al., SliceGPT, arXiv:2401.15024, section 3.3.
at::Tensor stream_moments(const Model& model, const std::vector<TokenBatch>& batches,
                          at::Device device);

}  // namespace prunus
