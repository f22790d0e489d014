#include "prunus/recover/repaired_source.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/calib/stream_store.h"
#include "prunus/recover/durable_tensors.h"

namespace prunus {

std::string RepairedLayers::path(int layer, const char* ending) const {
  return c10::str(folder_, "/repaired-", layer, ending);
}

void RepairedLayers::keep(int layer, const std::vector<RepairedTensor>& tensors) const {
  std::vector<at::Tensor> values;
  Json names = Json::array();
  for (const RepairedTensor& one : tensors) {
    values.push_back(one.value.to(at::kFloat));  // exact; the file knows no half precision
    names.push_back(one.tensor->name);
  }
  save_durably(path(layer, ".tensors"), values);
  write_file(path(layer, ".json"), names.dump() + "\n");
}

std::vector<RepairedTensor> RepairedLayers::restore(int layer) const {
  const std::string list = path(layer, ".json");
  if (!std::filesystem::exists(list)) return {};
  const Json names = read_json(list);
  const std::vector<at::Tensor> values = load_tensors(path(layer, ".tensors"));
  PRUNUS_CHECK(names.is_array() && names.size() == values.size(), Corrupt, list, ": names ",
               names.size(), " tensors, the file beside it holds ", values.size());
  std::vector<RepairedTensor> tensors;
  for (const TensorInfo& info : model_->tensors()) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (names[i] == info.name) tensors.push_back({&info, values[i]});
    }
  }
  PRUNUS_CHECK(tensors.size() == values.size(), Corrupt, list,
               ": names tensors that this model does not have");
  return tensors;
}

at::Tensor RepairedSource::read(const TensorInfo& tensor) const {
  if (tensor.layer < 0) return base_->read(tensor);
  if (held_layer_ != tensor.layer) {
    held_.clear();
    for (const RepairedTensor& one : layers_.restore(tensor.layer)) {
      held_[one.tensor->name] = one.value;
    }
    held_layer_ = tensor.layer;
  }
  const auto found = held_.find(tensor.name);
  return found == held_.end() ? base_->read(tensor) : found->second.to(dtype(tensor));
}

}  // namespace prunus
