#include "prunus/calib/layer_loop.h"

namespace prunus {

void for_each_layer(const Model& model, at::Device device, LayerRange range, LayerOrder order,
                    const std::function<void(int layer, const BlockWeights& weights)>& act) {
  const bool up = order == LayerOrder::FirstToLast;
  BlockWeights weights;
  for (int64_t i = 0; i < range.end - range.begin; ++i) {
    const auto layer = static_cast<int>(up ? range.begin + i : range.end - 1 - i);
    const int next = up ? layer + 1 : layer - 1;
    if (range.contains(next)) model.prefetch_block(next);
    weights = model.load_block(layer, device, std::move(weights));
    act(layer, weights);
    model.release_block(layer);
  }
}

}  // namespace prunus
