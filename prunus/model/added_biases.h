#pragma once
#include <compare>
#include <map>
#include <set>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"

namespace prunus {

/// A product of a layer that a bias is added to.
struct BiasPlace {
  int layer = 0;
  Role projection = Role::OProj;  ///< QProj, KProj, VProj, OProj, GateProj, UpProj or DownProj
  auto operator<=>(const BiasPlace&) const = default;
};

/// The model with a bias at each of these projections, in every layer that has them outside of its
/// experts: zeros where it had none, in the dtype of the projection's weight. For a solver, which
/// replaces them layer by layer through an OverlaySource (model/overlay.h).
/// Biases come in company: where the family's own config keys can say that they are there, with all
/// that the same key switches on (attention_bias of Llama: q, k, v and o); else with those of a
/// fused tensor's other parts, and rewrite_config() gives a `model_type` that only Prunus reads; a
/// warning says so. Zeros are made when they are read.
/// Throws InvalidArgument: a role that the decoder adds no bias to, or that the model has not.
/// Throws Unsupported: the projection is that of experts in every layer.
Model with_zero_biases(const Model& model, const std::set<Role>& projections);

/// The same with values: `biases` [out] of each place, any floating dtype, added to the bias that
/// is there; the sum is rounded once, to that one's dtype. Held in memory.
/// Throws as with_zero_biases(); InvalidArgument: no such layer, another shape; Unsupported:
/// experts in this layer; Numeric: a value that is not finite, or not in the file's dtype.
Model with_biases(const Model& model, const std::map<BiasPlace, at::Tensor>& biases);

}  // namespace prunus
