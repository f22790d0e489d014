#pragma once
#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

namespace prunus {

/// A matrix [rows, columns] as the numbers that are not 0, row by row, and a mask of where they
/// stand (docs/formats/bitmask.md). Tensors on the CPU, contiguous; may be mapped memory.
struct BitmaskMatrix {
  at::Tensor values;       ///< [count]: BF16, F16 or F32; or I8, to be multiplied by `scales`
  at::Tensor mask;         ///< U8 [rows, bytes]: column c is bit c % 8 of byte c / 8
  at::Tensor row_offsets;  ///< I64 [rows]: where in `values` a row begins
  at::Tensor scales;       ///< FP32 [rows] of I8, else undefined
  int64_t columns = 0;

  int64_t rows() const { return mask.size(0); }
  /// Of what expanded() gives: the values' own, FP32 of I8.
  at::ScalarType dtype() const;
  /// All that is stored, of these rows.
  int64_t bytes() const;
};

/// Endings of the names of the tensors that "a.weight" is stored as ("a.weight" + ending); scales
/// are "a.weight_scale".
inline constexpr const char* kShapeEnding = ".shape";
inline constexpr const char* kValuesEnding = ".compressed";
inline constexpr const char* kBitmaskEnding = ".bitmask";
inline constexpr const char* kOffsetsEnding = ".row_offsets";
inline constexpr const char* kBitmaskScaleEnding = "_scale";

/// Bytes of a row's mask: whole words of 64 columns, which kernels read.
constexpr int64_t bitmask_row_bytes(int64_t columns) { return (columns + 63) / 64 * 8; }

/// dense [rows, columns] of any type that a matrix may have. −0 counts as 0.
BitmaskMatrix bitmask_of(const at::Tensor& dense);

/// A matrix in 8-bit integers: of each row scale = max|w| / 127 and q = w / scale, rounded, of two
/// as near to the even one. What becomes 0 is not stored. dense: any floating type.
BitmaskMatrix bitmask_of_rounded(const at::Tensor& dense);

/// Checks a matrix that came from a file: types and shapes; that each row begins where the one
/// before ends, by its mask; that the last one ends with the values; that no bit is set behind the
/// last column. Rows of a mask have ⌈columns / 8⌉ bytes (other software) or bitmask_row_bytes().
/// Throws Corrupt; Unsupported for values of another type. `where` names it in messages.
/// Cost: one pass over the mask.
void check_bitmask(const BitmaskMatrix& matrix, const std::string& where);

/// The matrix with its zeros, [rows, columns] of dtype(). It has been checked.
at::Tensor expanded(const BitmaskMatrix& matrix);

}  // namespace prunus
