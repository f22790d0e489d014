#pragma once
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/linear_tap.h"
#include "prunus/model/model.h"

namespace prunus {

/// The feed-forward part of a layer with experts: y = Σ_e g_e(x)·f_e(x) over the experts that a
/// token chose, and where the family has one, an expert that every token shares. Shares g are the
/// largest of a softmax over all experts, divided by their sum where the model does that.
/// Tokens are dispatched: an expert sees those alone that chose it. The share is multiplied in
/// before the down projection, so what enters that, times its weight, is g_e(x)·f_e(x).
/// Shapes: hidden [..., seq, hidden_size] → same; what stands in front of seq are the batch's rows.
/// `tap`, where given, stands for the products, in the form that it asks for (LinearTap::experts).
/// Cost: with gradients one copy of the chosen experts' inputs, tokens · chosen · hidden_size.
/// Source: Jiang et al., arXiv:2401.04088, section 2.1.
at::Tensor mixture(const ModelConfig& config, int layer, const BlockWeights& weights,
                   const at::Tensor& hidden, LinearTap* tap);

/// The experts in the weight of a role that joins those of a layer's experts, in order; none where
/// it is of no expert.
std::vector<ExpertPart> experts_of(const ModelConfig& config, int layer, Role role,
                                   const at::Tensor& weight);

}  // namespace prunus
