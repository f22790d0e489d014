#pragma once
#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "support/tiny_model.h"

namespace prunus::test {

inline constexpr SubLayer kSubLayers[] = {SubLayer::Attention, SubLayer::FeedForward};

inline std::string name_of(SubLayer part) {
  return part == SubLayer::Attention ? "attention" : "feed-forward part";
}

/// The same weights without a layer's sub-layer, as a configuration says it.
inline Model without(const Model& model, SubLayer part, int layer) {
  ModelConfig config = model.config();
  config.layers.at(static_cast<size_t>(layer)).drop(part);
  return Model(std::move(config), model.shared_source());
}

/// A copy of the weights whose sub-layer of that layer puts out zeros: the brute force that a
/// dropped one is held against, unless its norm stands behind the sum.
inline Model silenced(const Model& model, SubLayer part, int layer) {
  auto weights = copy_weights(model);
  for (const TensorInfo& tensor : model.tensors()) {
    const Role role = tensor.spec->role;
    const bool last =
        part == SubLayer::Attention
            ? role == Role::OProj || role == Role::OBias
            : role == Role::DownProj || role == Role::DownBias || role == Role::SharedDownProj;
    if (tensor.layer == layer && last) weights->tensors.at(tensor.name).zero_();
  }
  return Model(model.config(), weights);
}

}  // namespace prunus::test
