#include "prunus/train/teacher.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/calib/layer_loop.h"
#include "prunus/model/decoder.h"
#include "prunus/model/resident_model.h"

namespace prunus {

Teacher::Teacher(const Model& model, at::Device device, bool resident,
                 std::vector<int64_t> seam_layers)
    : model_(model), device_(device), seam_layers_(std::move(seam_layers)), head_(model, device) {
  if (!resident) return;
  resident_ = open_layers(model, "open teacher: layers",
                          [&](int layer) { return model.load_block(layer, device); });
}

std::vector<TeacherStates> Teacher::run(const std::vector<TrainBatch>& batches) const {
  const at::NoGradGuard no_grad;
  std::vector<TeacherStates> states;
  for (const TrainBatch& batch : batches) states.push_back({embed(model_, batch.ids, device_), {}});
  const Decoder decoder(model_.config());
  const auto pass = [&](int layer, const BlockWeights& weights) {
    const bool seam = std::binary_search(seam_layers_.begin(), seam_layers_.end(), layer);
    for (TeacherStates& one : states) {
      one.hidden = decoder.block(layer, weights, one.hidden);
      if (seam) one.seams.push_back(one.hidden);
    }
  };
  if (resident_.empty()) {
    for_each_layer(model_, device_, {0, model_.layer_count()}, LayerOrder::FirstToLast, pass);
  }
  for (size_t layer = 0; layer < resident_.size(); ++layer) {
    pass(static_cast<int>(layer), resident_[layer]);
  }
  return states;
}

}  // namespace prunus
