#include "prunus/recover/teacher.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/decoder.h"

namespace prunus {

Teacher::Teacher(const Model& model, at::Device device, bool resident,
                 std::vector<int64_t> seam_layers)
    : model_(model), device_(device), seam_layers_(std::move(seam_layers)), head_(model, device) {
  if (!resident) return;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    resident_.push_back(model.load_block(layer, device));
  }
}

std::vector<TeacherStates> Teacher::run(const std::vector<TrainBatch>& batches) const {
  const at::NoGradGuard no_grad;
  std::vector<TeacherStates> states;
  for (const TrainBatch& batch : batches) states.push_back({embed(model_, batch.ids, device_), {}});
  const Decoder decoder(model_.config());
  BlockWeights streamed;
  for (int layer = 0; layer < model_.layer_count(); ++layer) {
    if (resident_.empty()) {
      model_.prefetch_block(layer + 1);
      streamed = model_.load_block(layer, device_, std::move(streamed));
    }
    const BlockWeights& weights =
        resident_.empty() ? streamed : resident_[static_cast<size_t>(layer)];
    const bool seam = std::binary_search(seam_layers_.begin(), seam_layers_.end(), layer);
    for (TeacherStates& one : states) {
      one.hidden = decoder.block(layer, weights, one.hidden);
      if (seam) one.seams.push_back(one.hidden);
    }
    if (resident_.empty()) model_.release_block(layer);
  }
  return states;
}

}  // namespace prunus
