#include "prunus/model/gguf_source.h"

#include <algorithm>
#include <map>
#include <set>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/io/quote.h"
#include "prunus/model/gguf_config.h"

namespace prunus {
namespace {

constexpr uint32_t kF16 = 1;
constexpr uint32_t kBf16 = 30;

// The sizes that a tensor of these parts has in the file.
std::vector<int64_t> stored_shape(const TensorInfo& tensor, GgufForm form, int64_t rows) {
  std::vector<int64_t> shape = tensor.shape;
  shape[0] = rows;
  if (form == GgufForm::Row) shape.erase(shape.begin());
  if (form != GgufForm::Stacked) return shape;
  const bool below = tensor.spec->axes[0].factors[0] == Factor::Expert;
  const int64_t experts = tensor.stored.experts;
  shape[below ? 0 : 1] /= experts;
  shape.insert(shape.begin(), experts);
  return shape;
}

// Rows of the model's tensor as rows of the file's, where each is a matrix.
int64_t rows_of(const TensorInfo& tensor) { return tensor.shape[0]; }

// Tensors of a file that are no weights of the model and that may be there.
std::set<std::string, std::less<>> other_tensors(const ModelConfig& config) {
  std::set<std::string, std::less<>> names = {
      std::string(kGgufRopeFactors), std::string(kGgufShortFactors), std::string(kGgufLongFactors)};
  if (config.tie_word_embeddings) names.insert("output.weight");
  return names;
}

}  // namespace

GgufSource::GgufSource(std::shared_ptr<const GgufFile> file, const GgufArchitecture& architecture,
                       const ModelConfig& config)
    : file_(std::move(file)), architecture_(architecture), head_dim_(config.head_dim) {
  add_places(config);
  std::set<std::string, std::less<>> known = other_tensors(config);
  for (const auto& layer : places_) {
    for (const GgufPlace& place : layer) {
      if (place.tensor != nullptr) known.insert(place.tensor->name);
    }
  }
  for (const GgufTensor& tensor : file_->tensors()) {
    PRUNUS_CHECK(known.contains(tensor.name), Unsupported, file_->path(), ": tensor ",
                 quote(tensor.name), " has no place in a model of architecture ", architecture.name,
                 "; leaving it out would change the mathematics");
  }
}

void GgufSource::add_places(const ModelConfig& config) {
  places_.resize(config.layers.size() + 1);
  const std::vector<TensorInfo> tensors = tensors_of(config);
  std::map<std::string, std::vector<const TensorInfo*>> parts;  // by the file's tensor
  for (const GgufName& name : architecture_.names) {
    for (const TensorInfo& tensor : tensors) {
      if (tensor.spec->role == name.role) {
        parts[gguf_tensor_name(name, tensor.layer)].push_back(&tensor);
      }
    }
  }
  for (const TensorInfo& tensor : tensors) {
    const GgufName* name = gguf_name(architecture_, tensor.spec->role);
    PRUNUS_CHECK(name != nullptr, Unsupported, file_->path(), ": a model of architecture ",
                 architecture_.name, " has no tensor for '", tensor.name, "'");
    const std::string stored = gguf_tensor_name(*name, tensor.layer);
    GgufPlace place{file_->find(stored), name, 0, 0, tensor.stored.experts};
    PRUNUS_CHECK(place.tensor != nullptr, Corrupt, file_->path(), ": has no tensor ",
                 quote(stored));
    int64_t all = 0;
    for (const TensorInfo* part : parts.at(stored)) {
      if (part == &tensor) place.begin = all;
      all += rows_of(*part);
    }
    const std::vector<int64_t> shape = stored_shape(tensor, name->form, all);
    PRUNUS_CHECK(place.tensor->shape == shape, Corrupt, file_->path(), ": tensor ", quote(stored),
                 " has shape ", c10::IntArrayRef(place.tensor->shape), ", the metadata asks for ",
                 c10::IntArrayRef(shape));
    PRUNUS_CHECK(place.tensor->type->dequantize != nullptr, Unsupported, file_->path(), ": tensor ",
                 quote(stored), " has the type ", place.tensor->type->name, "; Prunus reads ",
                 readable_gguf_types());
    place.rows = rows_of(tensor);
    places_[static_cast<size_t>(tensor.layer + 1)][static_cast<size_t>(tensor.spec->role)] = place;
  }
}

const GgufPlace& GgufSource::place(const TensorInfo& tensor) const {
  const GgufPlace& place =
      places_.at(static_cast<size_t>(tensor.layer + 1)).at(static_cast<size_t>(tensor.spec->role));
  PRUNUS_CHECK(place.tensor != nullptr, InvalidArgument, file_->path(), ": the model has no '",
               tensor.name, "'");
  return place;
}

bool GgufSource::has(const TensorInfo& tensor) const {
  return places_.at(static_cast<size_t>(tensor.layer + 1))
             .at(static_cast<size_t>(tensor.spec->role))
             .tensor != nullptr;
}

at::ScalarType GgufSource::dtype(const TensorInfo& tensor) const {
  const GgufPlace& place = this->place(tensor);
  if (place.name->form == GgufForm::OnePlus) return at::kFloat;
  const uint32_t type = place.tensor->type->id;
  return type == kF16 ? at::kHalf : type == kBf16 ? at::kBFloat16 : at::kFloat;
}

// Rows of the file's tensor as a matrix; of a vector, the values of its one row.
at::Tensor GgufSource::stored_rows(const GgufPlace& place, int64_t begin, int64_t end) const {
  if (place.tensor->shape.size() == 1) {
    return file_->rows(*place.tensor, 0, 1).squeeze(0).slice(0, begin, end);
  }
  return file_->rows(*place.tensor, begin, end);
}

at::Tensor GgufSource::read(const TensorInfo& tensor) const {
  const GgufPlace& place = this->place(tensor);
  const at::Tensor stored = place.plain() || place.name->form == GgufForm::RotaryPairs
                                ? stored_rows(place, place.begin, place.begin + place.rows)
                                : file_->read(*place.tensor);
  return from_gguf_form(stored, place.name->form, *tensor.spec, head_dim_, place.experts)
      .to(dtype(tensor));
}

at::Tensor GgufSource::read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const {
  const GgufPlace& place = this->place(tensor);
  if (place.plain()) {
    return stored_rows(place, place.begin + begin, place.begin + begin + count).to(dtype(tensor));
  }
  if (place.name->form != GgufForm::RotaryPairs) return read(tensor).narrow(0, begin, count);
  // Rows move inside their heads only.
  const int64_t first = begin / head_dim_ * head_dim_;
  const int64_t last =
      std::min(place.rows, (begin + count + head_dim_ - 1) / head_dim_ * head_dim_);
  const at::Tensor heads = stored_rows(place, place.begin + first, place.begin + last);
  return from_gguf_form(heads, place.name->form, *tensor.spec, head_dim_, 0)
      .narrow(0, begin - first, count)
      .to(dtype(tensor));
}

at::Tensor GgufSource::select_rows(const TensorInfo& tensor, const at::Tensor& rows) const {
  const GgufPlace& place = this->place(tensor);
  if (!place.plain()) return WeightSource::select_rows(tensor, rows);
  const at::Tensor indices = rows.to(at::kCPU, at::kLong).contiguous();
  const auto* index = indices.const_data_ptr<int64_t>();
  const int64_t all = place.rows;
  at::Tensor values = at::empty({indices.numel(), place.tensor->columns()}, at::kFloat);
  for (int64_t i = 0; i < indices.numel(); ++i) {
    TORCH_CHECK_INDEX(index[i] >= 0 && index[i] < all, "row ", index[i], " of ", all);
    const int64_t row = place.begin + index[i];
    values.select(0, i).copy_(file_->rows(*place.tensor, row, row + 1).squeeze(0));
  }
  return values.to(dtype(tensor));
}

std::optional<PackedWeight> GgufSource::read_packed(const TensorInfo& tensor) const {
  const GgufPlace& place = this->place(tensor);
  const GgufTensor& stored = *place.tensor;
  const auto type = packed_type(*stored.type);
  const bool turned = place.name->form == GgufForm::RotaryPairs;
  if (!type || stored.shape.size() != 2 || !(place.plain() || turned)) return std::nullopt;
  const int64_t row_bytes = stored.columns() / stored.type->elements * stored.type->bytes;
  const auto bytes = file_->bytes(stored).subspan(static_cast<size_t>(place.begin * row_bytes),
                                                  static_cast<size_t>(place.rows * row_bytes));
  const at::Tensor mapped = at::from_blob(
      const_cast<std::byte*>(bytes.data()), {place.rows, row_bytes}, [file = file_](void*) {},
      at::kByte);
  return PackedWeight{
      stored.type, *type,
      turned ? from_gguf_form(mapped, place.name->form, *tensor.spec, head_dim_, 0) : mapped,
      stored.columns()};
}

void GgufSource::prefetch(const TensorInfo& tensor) const {
  file_->prefetch(*place(tensor).tensor);
}

void GgufSource::release(const TensorInfo& tensor) const { file_->discard(*place(tensor).tensor); }

Model open_gguf_model(const std::string& path) {
  std::shared_ptr<const GgufFile> file = GgufFile::open(path);
  ModelConfig config = parse_config(gguf_config(*file), path);
  auto source = std::make_shared<GgufSource>(file, gguf_architecture(*file), config);
  return Model(std::move(config), std::move(source));
}

}  // namespace prunus
