#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/gguf_names.h"
#include "prunus/model/model.h"

namespace prunus {

/// One tensor of a GGUF file that is to be written: weights below each other, in their form there,
/// or values that are no weights.
struct GgufOutput {
  std::string name;
  std::vector<int64_t> shape;  ///< in the file, row-major
  struct Part {
    const TensorInfo* tensor = nullptr;  ///< of the model
    const GgufName* name = nullptr;
  };
  std::vector<Part> parts = {};  ///< empty: `value` is what is written
  at::Tensor value = {};         ///< FP32
  /// Whether llama.cpp wants FP32 whatever the file's type is: vectors, routers, positions.
  bool full_precision = false;
  bool is_head = false;  ///< what makes the logits: output, or an embedding that is the head too
};

/// The tensors of a file of that architecture, in the order in which llama.cpp's converter writes
/// them. `model` outlives the result; `config`: the model's, perhaps as another family of the same
/// mathematics (export/gguf_choice.h), without gguf_obstacles().
std::vector<GgufOutput> gguf_outputs(const Model& model, const ModelConfig& config,
                                     const GgufArchitecture& architecture);

/// The values in the file's shape, FP32. Throws Corrupt where one is not finite.
at::Tensor gguf_value(const GgufOutput& output, const Model& model);

}  // namespace prunus
