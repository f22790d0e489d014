#pragma once
#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "prunus/io/gguf_blocks.h"
#include "prunus/kernel/stored.h"

namespace prunus {

/// A matrix as a GGUF file holds it: in blocks, or in F32, F16 or BF16.
struct PackedWeight {
  const GgufBlockType* blocks = nullptr;
  kernel::Stored type = kernel::Stored::Float;
  at::Tensor bytes;  ///< uint8 [rows, bytes of a row], contiguous, on the CPU; may be mapped memory
  int64_t columns = 0;

  int64_t rows() const { return bytes.size(0); }
  /// For kernel/row_product. Valid while this lives.
  kernel::StoredMatrix matrix() const {
    return {type, bytes.const_data_ptr(), bytes.size(1), rows(), columns};
  }
  /// The values, FP32 [rows, columns].
  at::Tensor unpacked() const;
};

/// What row products can read as it is stored: F32, F16, BF16, Q4_0 to Q5_1, Q8_0, Q4_K, Q5_K,
/// Q6_K; else nothing.
std::optional<kernel::Stored> packed_type(const GgufBlockType& blocks);

/// y = x·Wᵀ + b, FP32. x [..., columns] of any dtype; up to kernel::kMostRows rows read the weight
/// as it is stored, more dequantise it piece by piece. bias [rows] or undefined. Carries no
/// gradients.
at::Tensor packed_linear(const at::Tensor& x, const PackedWeight& weight, const at::Tensor& bias);

}  // namespace prunus
