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

/// One layer's weights at a time of a model that is larger than memory, in the same place where
/// shapes allow, from walk to walk too. A walk of two models side by side has a cursor for each.
class LayerCursor {
 public:
  LayerCursor(const Model& model, at::Device device) : model_(model), device_(device) {}
  /// Loads a layer to the device, after what was open before is given back; `next` (−1: none) is
  /// read ahead meanwhile. Throws as Model::load_block.
  BlockWeights& open(int layer, int next);
  /// Gives the open layer's mapped memory back; its weights stay until the next one is opened.
  void close();
  BlockWeights& weights() { return weights_; }

 private:
  const Model& model_;
  at::Device device_;
  BlockWeights weights_;
  int layer_ = -1;
};

/// The loop over decoder layers: each layer's weights are read ahead while the one before it is at
/// work, loaded to the device, shown to `act`, and given back. `act` may change them: they are not
/// used again.
/// Throws what `act` and Model::load_block throw.
void for_each_layer(LayerCursor& cursor, LayerRange range, LayerOrder order,
                    const std::function<void(int layer, BlockWeights& weights)>& act);
/// The same with a cursor of its own, for one walk.
void for_each_layer(const Model& model, at::Device device, LayerRange range, LayerOrder order,
                    const std::function<void(int layer, BlockWeights& weights)>& act);

}  // namespace prunus
