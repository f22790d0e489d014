#pragma once
#include <cstdint>
#include <functional>

#include "prunus/model/model.h"

namespace prunus {

/// Half-open range of decoder layers.
struct LayerRange {
  int64_t begin = 0;
  int64_t end = 0;
  bool contains(int64_t layer) const { return layer >= begin && layer < end; }
};

enum class LayerOrder { FirstToLast, LastToFirst };

/// The loop over decoder layers of a model that is larger than memory: each layer's weights are
/// read ahead while the one before it is at work, loaded to the device, shown to `act`, and given
/// back. One layer's weights are in memory at a time, in the same place where shapes allow.
/// Throws what `act` and Model::load_block throw.
void for_each_layer(const Model& model, at::Device device, LayerRange range, LayerOrder order,
                    const std::function<void(int layer, const BlockWeights& weights)>& act);

}  // namespace prunus
