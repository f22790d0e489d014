#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/json.h"

namespace prunus {

/// How the weights of a checkpoint are quantised, as far as it takes to turn them back: each is a
/// tensor of 8 bits an element with scales beside it, W = (q − zero point) · scale.
struct Quantization {
  std::string method;     ///< quant_method, for messages
  bool integers = false;  ///< I8 are numbers; else such a tensor is something else (packed FP4)
  /// Rows and columns that a scale of a matrix of scales is for. 0 columns: a whole row's.
  std::vector<std::array<int64_t, 2>> blocks = {};
};

/// What quantization_config of config.json says; nothing where there is none. Known: fp8
/// (DeepSeek's and transformers' own), fbgemm_fp8, modelopt with FP8, and compressed-tensors with
/// float-quantized, int-quantized or naive-quantized weights, bitmasks of them too.
/// Throws Unsupported for any other, with what to do; Corrupt. `where` names the file in messages.
std::optional<Quantization> quantization_of(const Json& config, const std::string& where);

/// Endings of the names of scales of "a.weight" ("a" + ending), the first that is there counts.
inline constexpr std::array kScaleEndings = {".weight_scale_inv", ".weight_scale"};
/// sparsity_config's format where weights are stored as bitmasks (docs/formats/bitmask.md), which
/// each tensor's name says as well.
inline constexpr const char* kSparseBitmask = "sparse-bitmask";
inline constexpr const char* kZeroPointEnding = ".weight_zero_point";

/// Whether a tensor is one of those that say how activations or the cache of keys and values were
/// quantised: weights alone do not need them.
bool is_activation_scale(const std::string& name);

/// (q − zero point) · scale in FP32, then rounded to BF16.
/// Shapes: quantized [R, C] or [R], F8_E4M3, F8_E5M2 or I8; scale: one number, [R], [R, 1], or
/// [⌈R/r⌉, ⌈C/c⌉] of blocks of r × c as `quantization` has them; zero_point: undefined, or as
/// scale. → BF16 of the shape of `quantized`. `where` names the tensor in messages. Throws Corrupt
/// where the scales fit no block; Unsupported for another dtype of scales.
at::Tensor dequantize(const at::Tensor& quantized, const at::Tensor& scale,
                      const at::Tensor& zero_point, const Quantization& quantization,
                      const std::string& where);

}  // namespace prunus
