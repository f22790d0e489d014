#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/json.h"
#include "prunus/io/gguf.h"
#include "prunus/model/config.h"
#include "prunus/model/gguf_names.h"

namespace prunus {

/// The row of the table that a file's metadata asks for. Throws Corrupt where
/// `general.architecture` is missing; Unsupported for one that is not in the table, for files that
/// are no model (adapters, projectors), and for one part of a model that was split.
const GgufArchitecture& gguf_architecture(const GgufFile& file);

/// The config.json of the model in this file, in the words of its transformers class: complete, so
/// that no default of the class counts. Sizes that differ by layer, and biases that the class has
/// no key for, are said in Prunus's keys (docs/formats/config.md). Every metadata key under the
/// architecture's name is either used or refused; general.*, tokenizer.* and what other programs
/// note change nothing. Untrusted input.
/// Throws Corrupt: a key or tensor is missing, has the wrong type or an impossible value.
/// Throws Unsupported: as gguf_architecture(); a key or value whose mathematics is not implemented.
Json gguf_config(const GgufFile& file);

/// One metadata entry that describes a model. In the file: uint32, float32, bool, string, an array
/// of int32, an array of bool.
struct GgufSetting {
  std::string key;
  std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<bool>> value;
};

/// The reverse of gguf_config(): everything under the architecture's name, in the order in which
/// llama.cpp's converter writes it. `general.*` and `tokenizer.*` are not of the model.
/// Throws Unsupported with the first of gguf_obstacles().
std::vector<GgufSetting> gguf_settings(const ModelConfig& config,
                                       const GgufArchitecture& architecture);

/// Why llama.cpp would refuse this model as a file of that architecture, or compute something else,
/// each reason in words for a message; empty: nothing.
std::vector<std::string> gguf_obstacles(const ModelConfig& config,
                                        const GgufArchitecture& architecture);

/// What llama.cpp computes otherwise than the model's stock class although it opens the file, and
/// what everybody lives with: a window that it does not look at, an activation that it
/// approximates. In words for a message.
std::vector<std::string> gguf_remarks(const ModelConfig& config,
                                      const GgufArchitecture& architecture);

/// A tensor of the file that is no weight: rotation factors, FP32 [rotated pairs].
struct GgufRopeTensor {
  std::string name;
  at::Tensor value;
};
/// What rotary scaling needs besides metadata. Source: llama.cpp, conversion/llama.py and phi.py.
std::vector<GgufRopeTensor> gguf_rope_tensors(const ModelConfig& config,
                                              const GgufArchitecture& architecture);

}  // namespace prunus
