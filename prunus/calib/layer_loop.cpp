#include "prunus/calib/layer_loop.h"

namespace prunus {

BlockWeights& LayerCursor::open(int layer, int next) {
  close();
  if (next >= 0) model_.prefetch_block(next);
  weights_ = model_.load_block(layer, device_, std::move(weights_));
  layer_ = layer;
  return weights_;
}

void LayerCursor::close() {
  if (layer_ >= 0) model_.release_block(layer_);
  layer_ = -1;
}

void for_each_layer(LayerCursor& cursor, LayerRange range, LayerOrder order,
                    const std::function<void(int layer, BlockWeights& weights)>& act) {
  const bool up = order == LayerOrder::FirstToLast;
  for (int64_t i = 0; i < range.end - range.begin; ++i) {
    const auto layer = static_cast<int>(up ? range.begin + i : range.end - 1 - i);
    const int next = up ? layer + 1 : layer - 1;
    act(layer, cursor.open(layer, range.contains(next) ? next : -1));
    cursor.close();
  }
}

void for_each_layer(const Model& model, at::Device device, LayerRange range, LayerOrder order,
                    const std::function<void(int layer, BlockWeights& weights)>& act) {
  LayerCursor cursor(model, device);
  for_each_layer(cursor, range, order, act);
}

}  // namespace prunus
