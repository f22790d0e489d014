#include "prunus/model/mask.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"

namespace prunus {
namespace {

constexpr const char* kStem = "mask";

at::Tensor bit_values() { return at::tensor({1, 2, 4, 8, 16, 32, 64, 128}, at::kByte); }

}  // namespace

at::Tensor pack_mask(const at::Tensor& kept) {
  const int64_t columns = kept.size(1);
  const int64_t bytes = (columns + 7) / 8;
  const at::Tensor bits = at::constant_pad_nd(kept.to(at::kByte), {0, bytes * 8 - columns});
  return (bits.view({kept.size(0), bytes, 8}) * bit_values()).sum(-1, false, at::kByte);
}

at::Tensor unpack_mask(const at::Tensor& packed, int64_t columns) {
  const bool fits =
      packed.dim() == 2 && packed.scalar_type() == at::kByte && packed.size(1) == (columns + 7) / 8;
  PRUNUS_CHECK(fits, Corrupt, "a mask of shape ", packed.sizes(), " for a matrix of ", columns,
               " columns, expected ", (columns + 7) / 8, " bytes a row");
  return packed.unsqueeze(-1)
      .bitwise_and(bit_values())
      .ne(0)
      .view({packed.size(0), -1})
      .narrow(1, 0, columns);
}

LayerFiles mask_files(const Model& model, std::string folder) {
  return {model, std::move(folder), kStem};
}

bool is_mask_file(const std::string& file_name) {
  return file_name.starts_with(c10::str(kStem, "-"));
}

std::string sha256_of_masks(const Model& model, const LayerFiles& masks) {
  Json hashes = Json::object();
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    for (const OverlayTensor& one : masks.restore(layer)) {
      const at::Tensor bytes = one.value.contiguous();
      hashes[one.tensor->name] = sha256(
          {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.nbytes())});
    }
  }
  return sha256(hashes.dump());
}

const at::Tensor* MaskedSource::find(const TensorInfo& tensor) const {
  if (tensor.layer < 0) return nullptr;
  if (held_layer_ != tensor.layer) {
    held_.clear();
    for (const OverlayTensor& one : masks_.restore(tensor.layer)) {
      const std::vector<int64_t>& shape = one.tensor->shape;
      PRUNUS_CHECK(shape.size() == 2 && one.value.dim() == 2 && one.value.size(0) == shape[0],
                   Corrupt, one.tensor->name, ": the mask has ", one.value.sizes(),
                   " (rows, bytes), the weight ", shape);
      held_[one.tensor->name] = unpack_mask(one.value, shape[1]);
    }
    held_layer_ = tensor.layer;
  }
  const auto found = held_.find(tensor.name);
  return found == held_.end() ? nullptr : &found->second;
}

at::Tensor MaskedSource::read(const TensorInfo& tensor) const {
  const at::Tensor* kept = find(tensor);
  const at::Tensor value = base_->read(tensor);
  return kept == nullptr ? value : value.masked_fill(kept->logical_not(), 0);
}

at::Tensor MaskedSource::read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const {
  const at::Tensor* kept = find(tensor);
  const at::Tensor value = base_->read_rows(tensor, begin, count);
  return kept == nullptr ? value
                         : value.masked_fill(kept->narrow(0, begin, count).logical_not(), 0);
}

at::Tensor MaskedSource::select_rows(const TensorInfo& tensor, const at::Tensor& rows) const {
  const at::Tensor* kept = find(tensor);
  const at::Tensor value = base_->select_rows(tensor, rows);
  return kept == nullptr ? value : value.masked_fill(kept->index_select(0, rows).logical_not(), 0);
}

std::optional<WeightOrigin> MaskedSource::origin(const TensorInfo& tensor) const {
  auto from = origin_of(*base_, tensor);
  if (from && find(tensor) != nullptr) from->same_values = false;
  return from;
}

Model masked(const Model& model, const std::string& folder) {
  Model result(model.config(), std::make_shared<MaskedSource>(model, folder));
  result.set_precision(model.precision());
  return result;
}

}  // namespace prunus
