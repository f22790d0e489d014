#include "prunus/model/overlay.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/io/tensor_file.h"

namespace prunus {

std::string LayerFiles::path(int layer, const char* ending) const {
  return c10::str(folder_, "/", stem_, "-", layer, ending);
}

void LayerFiles::keep(int layer, const std::vector<OverlayTensor>& tensors) const {
  std::vector<at::Tensor> values;
  Json names = Json::array();
  for (const OverlayTensor& one : tensors) {
    const bool wide = !one.value.is_floating_point();
    values.push_back(wide ? one.value : one.value.to(at::kFloat));  // the file knows no halves
    names.push_back(one.tensor->name);
  }
  save_durably(path(layer, ".tensors"), values);
  write_file(path(layer, ".json"), names.dump() + "\n");
}

std::vector<OverlayTensor> LayerFiles::restore(int layer) const {
  const std::string list = path(layer, ".json");
  if (!std::filesystem::exists(list)) return {};
  const Json names = read_json(list);
  const std::vector<at::Tensor> values = load_tensors(path(layer, ".tensors"));
  PRUNUS_CHECK(names.is_array() && names.size() == values.size(), Corrupt, list, ": names ",
               names.size(), " tensors, the file beside it holds ", values.size());
  std::vector<OverlayTensor> tensors;
  for (const TensorInfo& info : model_->tensors()) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (names[i] == info.name) tensors.push_back({&info, values[i]});
    }
  }
  PRUNUS_CHECK(tensors.size() == values.size(), Corrupt, list,
               ": names tensors that this model does not have");
  return tensors;
}

bool is_overlay_file(const std::string& file_name) { return file_name.starts_with("overlay-"); }

OverlaySource::OverlaySource(std::shared_ptr<const WeightSource> base,
                             std::map<std::string, at::Tensor> tensors)
    : base_(std::move(base)), tensors_(std::move(tensors)) {}

OverlaySource::OverlaySource(std::shared_ptr<const WeightSource> base, LayerFiles layers)
    : base_(std::move(base)), layers_{std::move(layers)} {}

const at::Tensor* OverlaySource::find(const TensorInfo& tensor) const {
  const auto given = tensors_.find(tensor.name);
  if (given != tensors_.end()) return &given->second;
  if (tensor.layer < 0 || layers_.empty()) return nullptr;
  if (held_layer_ != tensor.layer) {
    held_.clear();
    for (const OverlayTensor& one : layers_[0].restore(tensor.layer)) {
      held_[one.tensor->name] = one.value;
    }
    held_layer_ = tensor.layer;
  }
  const auto kept = held_.find(tensor.name);
  return kept == held_.end() ? nullptr : &kept->second;
}

at::Tensor OverlaySource::read(const TensorInfo& tensor) const {
  const at::Tensor* own = find(tensor);
  return own == nullptr ? base_->read(tensor) : own->detach().to(at::kCPU, dtype(tensor));
}

at::Tensor OverlaySource::read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const {
  if (find(tensor) != nullptr) return WeightSource::read_rows(tensor, begin, count);
  return base_->read_rows(tensor, begin, count);
}

at::Tensor OverlaySource::select_rows(const TensorInfo& tensor, const at::Tensor& rows) const {
  if (find(tensor) != nullptr) return WeightSource::select_rows(tensor, rows);
  return base_->select_rows(tensor, rows);
}

bool OverlaySource::has(const TensorInfo& tensor) const {
  return base_->has(tensor) || find(tensor) != nullptr;
}

std::optional<WeightOrigin> OverlaySource::origin(const TensorInfo& tensor) const {
  if (!base_->has(tensor)) return std::nullopt;
  auto from = origin_of(*base_, tensor);
  if (from && find(tensor) != nullptr) from->same_values = false;
  return from;
}

at::ScalarType OverlaySource::dtype(const TensorInfo& tensor) const {
  if (base_->has(tensor)) return base_->dtype(tensor);
  const at::Tensor* own = find(tensor);
  TORCH_INTERNAL_ASSERT(own != nullptr);
  return own->scalar_type();
}

void OverlaySource::prefetch(const TensorInfo& tensor) const {
  if (!tensors_.contains(tensor.name) && base_->has(tensor)) base_->prefetch(tensor);
}

void OverlaySource::release(const TensorInfo& tensor) const {
  if (!tensors_.contains(tensor.name) && base_->has(tensor)) base_->release(tensor);
}

}  // namespace prunus
