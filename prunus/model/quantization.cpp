#include "prunus/model/quantization.h"

#include <algorithm>
#include <string_view>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/io/safetensors_dtype.h"

namespace prunus {
namespace {

constexpr int64_t kMostBlock = int64_t{1} << 24;

constexpr const char* kUnquantized = "use the model that it was made from";
constexpr const char* kDequantize =
    "python3 -c \"import sys; from transformers import AutoModelForCausalLM as M; "
    "M.from_pretrained(sys.argv[1]).dequantize().save_pretrained(sys.argv[2])\" MODEL OUT";
constexpr const char* kDequantizeMxfp4 =
    "python3 -c \"import sys; from transformers import AutoModelForCausalLM as M, Mxfp4Config as "
    "C; "
    "M.from_pretrained(sys.argv[1], quantization_config=C(dequantize=True), "
    "dtype='auto').save_pretrained(sys.argv[2])\" MODEL OUT";

// What to do with a method that Prunus does not read.
struct Advice {
  std::string_view method;
  const char* text;
};
constexpr Advice kAdvice[] = {
    {"awq", kUnquantized},     {"bitsandbytes", kDequantize}, {"gptq", kUnquantized},
    {"hqq", kUnquantized},     {"mxfp4", kDequantizeMxfp4},   {"quanto", kUnquantized},
    {"torchao", kUnquantized},
};

std::string word_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool flag_at(const Json& object, const char* key) { return object.value(key, Json()) == true; }

[[noreturn]] void refuse(const std::string& what, const std::string& method,
                         const std::string& where) {
  const auto* advice = std::find_if(std::begin(kAdvice), std::end(kAdvice),
                                    [&](const Advice& one) { return one.method == method; });
  PRUNUS_FAIL(Unsupported, where, ": the weights are quantised (", what,
              "), which Prunus cannot turn back; it reads FP8 and 8-bit integers of fp8, "
              "fbgemm_fp8, modelopt and compressed-tensors. What to do: ",
              advice == std::end(kAdvice) ? kUnquantized : advice->text);
}

// "weight_block_size": [128, 128]; null: scales of tensors or rows.
void read_block(const Json& object, const char* key, const std::string& where,
                Quantization& quantization) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return;
  const auto is_size = [](const Json& one) {
    return one.is_number_integer() && one > 0 && one <= kMostBlock;
  };
  PRUNUS_CHECK(
      found->is_array() && found->size() == 2 && is_size((*found)[0]) && is_size((*found)[1]),
      Corrupt, where, ": quantization_config: ", key, " is ", found->dump(),
      ", expected [rows, columns]");
  quantization.blocks.push_back({(*found)[0].get<int64_t>(), (*found)[1].get<int64_t>()});
}

void read_group(const Json& weights, const std::string& where, Quantization& quantization) {
  const auto found = weights.find("group_size");
  if (found == weights.end() || found->is_null() || *found == -1) return;
  PRUNUS_CHECK(found->is_number_integer() && *found > 0 && *found <= kMostBlock, Corrupt, where,
               ": quantization_config: group_size is ", found->dump(),
               ", expected a number above 0");
  quantization.blocks.push_back({1, found->get<int64_t>()});
}

// Formats whose weights have 8 bits and stand unpacked; "dense": not quantised in the file.
bool is_plain_format(const std::string& format) {
  constexpr const char* kFormats[] = {
      "",  // said per group
      "dense", "float-quantized", "int-quantized", "naive-quantized", "mixed-precision"};
  return std::any_of(std::begin(kFormats), std::end(kFormats),
                     [&](const char* one) { return format == one; });
}

void read_compressed_tensors(const Json& json, const std::string& where,
                             Quantization& quantization) {
  quantization.integers = true;
  const auto check_format = [&](const std::string& format) {
    if (!is_plain_format(format)) {
      refuse("compressed-tensors, " + format, quantization.method, where);
    }
  };
  check_format(word_at(json, "format"));
  const Json sparsity = json.value("sparsity_config", Json());
  const std::string sparse = sparsity.is_object() ? word_at(sparsity, "format") : "";
  if (!sparse.empty() && sparse != "dense" && sparse != kSparseBitmask) {
    refuse("compressed-tensors, " + sparse, quantization.method, where);
  }
  const Json groups = json.value("config_groups", Json());
  if (!groups.is_object()) return;
  for (const auto& [name, group] : groups.items()) {
    if (!group.is_object()) continue;
    check_format(word_at(group, "format"));
    const Json weights = group.value("weights", Json());
    if (!weights.is_object()) continue;
    const Json bits = weights.value("num_bits", Json(8));
    if (bits != 8) refuse(c10::str(bits.dump(), " bits"), quantization.method, where);
    read_group(weights, where, quantization);
    read_block(weights, "block_structure", where, quantization);
  }
}

void read_modelopt(const Json& json, const std::string& where, const Quantization& quantization) {
  const std::string algorithm = word_at(json, "quant_algo");
  if (algorithm != "FP8") refuse("modelopt, " + algorithm, quantization.method, where);
}

std::string method_of(const Json& json) {
  const std::string method = word_at(json, "quant_method");
  if (!method.empty()) return method;
  const bool bits_and_bytes = flag_at(json, "load_in_4bit") || flag_at(json, "load_in_8bit");
  return bits_and_bytes ? "bitsandbytes" : "of no known method";  // written before 2024
}

int64_t ceil_div(int64_t value, int64_t by) { return (value + by - 1) / by; }

// [⌈R/r⌉, ⌈C/c⌉] → [R, C].
at::Tensor expand_blocks(const at::Tensor& blocks, const at::Tensor& like,
                         const std::array<int64_t, 2>& block) {
  return blocks.repeat_interleave(block[0], 0)
      .narrow(0, 0, like.size(0))
      .repeat_interleave(block[1], 1)
      .narrow(1, 0, like.size(1));
}

// Scales, or zero points, in a shape that broadcasts over the tensor they are for.
at::Tensor spread(const at::Tensor& scale, const at::Tensor& like, const Quantization& quantization,
                  const std::string& where) {
  const at::Tensor values = scale.to(at::kFloat);
  if (values.numel() == 1) return values.reshape({1});
  const bool matrix = like.dim() == 2;
  if (matrix && values.numel() == like.size(0) && values.size(0) == like.size(0)) {
    return values.reshape({-1, 1});
  }
  for (const auto& block : quantization.blocks) {
    const bool fits = matrix && values.dim() == 2 &&
                      values.size(0) == ceil_div(like.size(0), block[0]) &&
                      values.size(1) == ceil_div(like.size(1), block[1]);
    if (fits) return expand_blocks(values, like, block);
  }
  PRUNUS_FAIL(Corrupt, where, ": scales of shape ", c10::str(scale.sizes()),
              " fit neither the tensor, of shape ", c10::str(like.sizes()),
              ", nor its rows, nor blocks as quantization_config has them");
}

}  // namespace

std::optional<Quantization> quantization_of(const Json& config, const std::string& where) {
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return std::nullopt;
  PRUNUS_CHECK(found->is_object(), Corrupt, where, ": 'quantization_config' is ",
               found->type_name(), ", expected an object");
  Quantization quantization{.method = method_of(*found)};
  const std::string& method = quantization.method;
  if (method == "fp8") {
    read_block(*found, "weight_block_size", where, quantization);
  } else if (method == "compressed-tensors") {
    read_compressed_tensors(*found, where, quantization);
  } else if (method == "modelopt") {
    read_modelopt(*found, where, quantization);
  } else if (method != "fbgemm_fp8") {
    refuse(method, method, where);
  }
  return quantization;
}

bool is_activation_scale(const std::string& name) {
  constexpr const char* kEndings[] = {
      ".input_scale",         ".input_scale_ub", ".output_scale", ".input_zero_point",
      ".activation_scale_ub", ".k_scale",        ".v_scale",      ".q_scale",
      ".activation_scale"};
  return std::any_of(std::begin(kEndings), std::end(kEndings),
                     [&](const char* ending) { return name.ends_with(ending); });
}

at::Tensor dequantize(const at::Tensor& quantized, const at::Tensor& scale,
                      const at::Tensor& zero_point, const Quantization& quantization,
                      const std::string& where) {
  PRUNUS_CHECK(is_weight_dtype(scale.scalar_type()), Unsupported, where, ": its scales are ",
               c10::toString(scale.scalar_type()), ", expected F32, F16 or BF16");
  at::Tensor values = quantized.to(at::kFloat);
  if (zero_point.defined()) values.sub_(spread(zero_point, values, quantization, where));
  values.mul_(spread(scale, values, quantization, where));
  return values.to(at::kBFloat16);
}

}  // namespace prunus
