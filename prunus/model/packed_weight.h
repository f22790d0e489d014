#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "prunus/io/bitmask.h"
#include "prunus/io/gguf_blocks.h"
#include "prunus/kernel/stored.h"

namespace prunus {

/// A matrix as a file holds it: in GGUF's blocks, in F32, F16 or BF16, or without its zeros.
struct PackedWeight {
  const GgufBlockType* blocks = nullptr;  ///< null: without zeros
  kernel::Stored type = kernel::Stored::Float;
  at::Tensor bytes;  ///< uint8 [rows, bytes of a row], contiguous, on the CPU; may be mapped memory
  int64_t columns = 0;
  BitmaskMatrix bitmask = {};  ///< where `blocks` is null, in the place of `bytes`

  int64_t rows() const { return blocks == nullptr ? bitmask.rows() : bytes.size(0); }
  /// Of all that is stored.
  int64_t nbytes() const;
  /// "Q4_K", "BF16", "bitmask BF16".
  std::string_view name() const;
  /// For kernel/row_product. Valid while this lives.
  kernel::StoredMatrix matrix() const;
  /// The values, FP32 [rows, columns].
  at::Tensor unpacked() const;
  /// Throws Corrupt naming `what` where a value is NaN or infinite.
  void check_finite(const std::string& what) const;
};

/// A checked matrix without zeros as row products read it, some rows of it: nothing where they do
/// not: its numbers are neither BF16 nor I8, or the rows of its mask no whole words.
std::optional<PackedWeight> packed_bitmask(const BitmaskMatrix& matrix, int64_t begin,
                                           int64_t rows);
/// A contiguous matrix of F32, F16 or BF16 on the CPU, likewise.
PackedWeight packed_plain(const at::Tensor& weight);

/// What row products can read as it is stored: F32, F16, BF16, Q4_0 to Q5_1, Q8_0, Q4_K, Q5_K,
/// Q6_K; else nothing.
std::optional<kernel::Stored> packed_type(const GgufBlockType& blocks);

/// y = x·Wᵀ + b, FP32. x [..., columns] of any dtype; up to kernel::kMostRows rows read the weight
/// as it is stored, more dequantise it piece by piece. bias [rows] or undefined. Carries no
/// gradients.
at::Tensor packed_linear(const at::Tensor& x, const PackedWeight& weight, const at::Tensor& bias);

}  // namespace prunus
