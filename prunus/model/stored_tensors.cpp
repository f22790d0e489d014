#include "prunus/model/stored_tensors.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/io/safetensors_dtype.h"

namespace prunus {
namespace {

constexpr std::string_view kWeight = ".weight";

// Eight bits an element, of which scales make numbers.
bool is_quantized_dtype(at::ScalarType type, bool integers) {
  return type == at::kFloat8_e4m3fn || type == at::kFloat8_e5m2 || (integers && type == at::kChar);
}

std::optional<std::string> beside_weight(const Checkpoint& checkpoint, const std::string& name,
                                         const char* ending) {
  if (!name.ends_with(kWeight)) return std::nullopt;
  std::string other = name.substr(0, name.size() - kWeight.size()) + ending;
  return checkpoint.contains(other) ? std::optional(std::move(other)) : std::nullopt;
}

}  // namespace

std::optional<std::string> StoredTensors::scale_of(const std::string& name) const {
  for (const char* ending : kScaleEndings) {
    if (auto scale = beside_weight(checkpoint_, name, ending)) return scale;
  }
  return std::nullopt;
}

std::optional<std::string> StoredTensors::zero_point_of(const std::string& name) const {
  return beside_weight(checkpoint_, name, kZeroPointEnding);
}

bool StoredTensors::masked(const std::string& name) const {
  return !checkpoint_.contains(name) && checkpoint_.contains(name + kBitmaskEnding);
}

StoredTensors::StoredTensors(Checkpoint checkpoint, std::optional<Quantization> quantization)
    : checkpoint_(std::move(checkpoint)), quantization_(std::move(quantization)) {
  const std::vector<std::string> names = checkpoint_.names();
  any_masked_ = std::any_of(names.begin(), names.end(),
                            [](const std::string& name) { return name.ends_with(kBitmaskEnding); });
}

bool StoredTensors::contains(const std::string& name) const {
  return checkpoint_.contains(name) || masked(name);
}

std::vector<int64_t> StoredTensors::shape(const std::string& name) const {
  if (!masked(name)) return checkpoint_.entry(name).shape;
  const at::Tensor sizes = checkpoint_.read_stored(name + kShapeEnding);
  const bool pair = sizes.scalar_type() == at::kLong && sizes.sizes() == c10::IntArrayRef({2});
  PRUNUS_CHECK(pair, Corrupt, checkpoint_.dir(), ": tensor '", name, kShapeEnding, "' is ",
               sizes.scalar_type(), " ", sizes.sizes(), ", expected I64 [2]");
  const auto* size = sizes.const_data_ptr<int64_t>();
  const std::vector<int64_t>& mask = checkpoint_.entry(name + kBitmaskEnding).shape;
  PRUNUS_CHECK(mask.size() == 2 && mask[0] == size[0] && size[1] > 0 && (size[1] - 1) / 8 < mask[1],
               Corrupt, checkpoint_.dir(), ": tensor '", name, kShapeEnding, "' is ", size[0],
               " x ", size[1], ", which does not fit a mask of shape ", c10::IntArrayRef(mask));
  return {size[0], size[1]};
}

BitmaskMatrix StoredTensors::bitmask(const std::string& name) const {
  const std::string where = c10::str(checkpoint_.dir(), ": tensor '", name, "'");
  BitmaskMatrix matrix{.values = checkpoint_.read_stored(name + kValuesEnding),
                       .mask = checkpoint_.read_stored(name + kBitmaskEnding),
                       .row_offsets = checkpoint_.read_stored(name + kOffsetsEnding),
                       .scales = {},
                       .columns = shape(name)[1]};
  if (matrix.values.scalar_type() == at::kChar) {
    const std::optional<std::string> scale = scale_of(name);
    PRUNUS_CHECK(scale, Corrupt, where, ": values of I8, but no scales: tensor '", name,
                 "_scale' is missing");
    matrix.scales = checkpoint_.read(*scale).to(at::kFloat).flatten();
  }
  check_bitmask(matrix, where);
  return matrix;
}

bool StoredTensors::quantized(const std::string& name) const {
  return quantization_ && checkpoint_.contains(name) &&
         is_quantized_dtype(checkpoint_.entry(name).dtype, quantization_->integers) &&
         scale_of(name);
}

at::ScalarType StoredTensors::dtype(const std::string& name) const {
  if (masked(name)) {
    const at::ScalarType type = checkpoint_.entry(name + kValuesEnding).dtype;
    PRUNUS_CHECK(type == at::kChar || is_weight_dtype(type), Unsupported, checkpoint_.dir(),
                 ": tensor '", name, kValuesEnding, "' has dtype ",
                 checkpoint_.entry(name + kValuesEnding).dtype_name,
                 ", expected BF16, F16, F32 or I8");
    return type == at::kChar ? at::kFloat : type;
  }
  if (quantized(name)) return at::kBFloat16;
  const TensorEntry& entry = checkpoint_.entry(name);
  PRUNUS_CHECK(
      is_weight_dtype(entry.dtype), Unsupported, checkpoint_.dir(), ": tensor '", name,
      "' has dtype ", entry.dtype_name, "; Prunus reads F32, F16 and BF16",
      quantization_ ? ", and what has a scale beside it (weight_scale, weight_scale_inv)" : "");
  return entry.dtype;
}

at::Tensor StoredTensors::read(const std::string& name) const {
  if (masked(name)) {
    at::Tensor dense = expanded(bitmask(name));
    release(name);
    return dense;
  }
  if (!quantized(name)) return checkpoint_.read(name);
  const std::string where = c10::str(checkpoint_.dir(), ": tensor '", name, "'");
  const std::string scale = *scale_of(name);
  const std::optional<std::string> zero = zero_point_of(name);
  const at::Tensor zeros = zero ? checkpoint_.read_stored(*zero) : at::Tensor();
  at::Tensor weight = dequantize(checkpoint_.read_stored(name), checkpoint_.read_stored(scale),
                                 zeros, *quantization_, where);
  checkpoint_.release(name);
  return weight;
}

std::vector<std::string> StoredTensors::stored_as(const std::string& name) const {
  if (!masked(name)) return {name};
  return {name + kValuesEnding, name + kBitmaskEnding, name + kOffsetsEnding};
}

void StoredTensors::prefetch(const std::string& name) const {
  for (const std::string& part : stored_as(name)) checkpoint_.prefetch(part);
}

void StoredTensors::release(const std::string& name) const {
  for (const std::string& part : stored_as(name)) checkpoint_.release(part);
}

std::vector<std::string> StoredTensors::beside(const std::string& name) const {
  if (masked(name)) {
    std::vector<std::string> names = stored_as(name);
    names.push_back(name + kShapeEnding);
    if (auto scale = scale_of(name)) names.push_back(*scale);
    return names;
  }
  if (!quantization_ || !checkpoint_.contains(name)) return {};
  std::vector<std::string> names;
  for (auto& other : {scale_of(name), zero_point_of(name)}) {
    if (other) names.push_back(*other);
  }
  return names;
}

bool StoredTensors::is_about_activations(const std::string& name) const {
  return quantization_ && is_activation_scale(name);
}

}  // namespace prunus
