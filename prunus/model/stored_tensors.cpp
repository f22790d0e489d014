#include "prunus/model/stored_tensors.h"

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

bool StoredTensors::quantized(const std::string& name) const {
  return quantization_ &&
         is_quantized_dtype(checkpoint_.entry(name).dtype, quantization_->integers) &&
         scale_of(name);
}

at::ScalarType StoredTensors::dtype(const std::string& name) const {
  if (quantized(name)) return at::kBFloat16;
  const TensorEntry& entry = checkpoint_.entry(name);
  PRUNUS_CHECK(
      is_weight_dtype(entry.dtype), Unsupported, checkpoint_.dir(), ": tensor '", name,
      "' has dtype ", entry.dtype_name, "; Prunus reads F32, F16 and BF16",
      quantization_ ? ", and what has a scale beside it (weight_scale, weight_scale_inv)" : "");
  return entry.dtype;
}

at::Tensor StoredTensors::read(const std::string& name) const {
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

void StoredTensors::prefetch(const std::string& name) const { checkpoint_.prefetch(name); }

void StoredTensors::release(const std::string& name) const { checkpoint_.release(name); }

std::vector<std::string> StoredTensors::beside(const std::string& name) const {
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
