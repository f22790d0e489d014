#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"

namespace prunus {

/// Throws Unsupported, saying why, where the residual stream of the model cannot be written in
/// another basis: something stands in the basis of its channels that no matrix can take over. Those
/// are gains of norms over what is added to the stream (norms behind the parts, behind the sums,
/// behind the embedding), a part or a head that reads the stream without a norm, a head whose rows
/// are normalised, and a head that must be the embedding.
void check_rotatable(const Model& model);

/// The configuration of rotated() models: `hidden_size` channels, a head of its own.
ModelConfig rotated_config(const ModelConfig& config, int64_t hidden_size);

/// The basis of the residual stream that keeps most of its second moments.
struct StreamBasis {
  at::Tensor vectors;  ///< FP64 [hidden_size, size] on the CPU: stream · vectors is the new stream
  double energy = 0;   ///< share of the moments' trace that it keeps, 0 to 1
};

/// The eigenvectors of the `size` largest eigenvalues of `moments`, FP64 [hidden_size, hidden_size]
/// symmetric, that of the largest first. Where norms subtract the mean (NormKind::Layer), moments
/// are those of centred states: size − 1 eigenvectors, that stand across the vector of ones, are
/// laid into `size` channels whose sum is 0 for every state, so that the new norm's mean is 0 too.
/// Cost: hidden_size³. Throws InvalidArgument where `size` is not in 1 (2 for Layer) … hidden_size;
/// Numeric where the moments are not finite. Source: Ashkboos et al., SliceGPT, arXiv:2401.15024,
/// section 3.3. Differs: one basis for the whole model.
StreamBasis stream_basis(const at::Tensor& moments, int64_t size, NormKind norm);

/// The model with its residual stream x written as c·x·Q, Q = `vectors` of a StreamBasis, and as
/// many channels as that has: an ordinary Model whose weights are made when they are read, in FP32,
/// and rounded to the dtypes of those they come from. Gains and biases of the norms go into the
/// matrices that read them, after which gains are 1 (biases, whose place is the direction that no
/// centred state has, 1); what writes is multiplied by cQᵀ, what reads by Qᵀ/c from the right.
/// c = √(size / hidden_size) makes the mean over the new channels that over the old ones, so that
/// rms and norm_eps stay what they were. A tied head gets weights of its own. With a square Q the
/// logits are those of `model`. Throws as check_rotatable(); InvalidArgument for another shape.
/// Source: SliceGPT, sections 3.1 and 3.2.
Model rotated(const Model& model, const at::Tensor& vectors);

}  // namespace prunus
