#pragma once
#include <span>
#include <string_view>

#include <c10/core/ScalarType.h>

namespace prunus {

/// One element type of the safetensors format.
struct SafetensorsDtype {
  std::string_view name;  ///< as in the header, e.g. "BF16"
  int bits;               ///< per element; 4 and 6 are legal, the tensor's total is whole bytes
  at::ScalarType type;    ///< Undefined where torch has none with the same layout
};

/// Every element type of the format, in the reference implementation's order, which is ascending in
/// size. Its writer sorts tensors by this order, descending, so that alignment never needs padding.
/// F8_E8M0 counts as Undefined: libtorch has it only from 2.7 on.
/// Source: huggingface/safetensors, tensor.rs, enum Dtype.
std::span<const SafetensorsDtype> safetensors_dtypes();

/// The row called `name`, or nullptr.
const SafetensorsDtype* find_safetensors_dtype(std::string_view name);

/// True for the element types that Prunus reads and writes as weights: F32, F16, BF16.
bool is_weight_dtype(at::ScalarType type);

}  // namespace prunus
