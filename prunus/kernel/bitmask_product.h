#pragma once
#include <cstdint>
#include <vector>

#include "prunus/base/cpu.h"
#include "prunus/kernel/bitmask_block.h"
#include "prunus/kernel/stored.h"

namespace prunus::kernel {

/// Some rows of x as products with matrices without zeros read them at a level. From AVX-512 VBMI
/// on that is no FP32: beside BF16 numbers three BF16 (24 bits), beside 8-bit ones a fixed point of
/// 24 bits under the row's largest number, whose products are whole numbers and so exact. Errors of
/// both are those of sums in FP32.
class BitmaskInput {
 public:
  /// x [rows, columns] for weights of this type, in memory that is used again.
  void prepare(const float* x, int64_t rows, int64_t columns, Stored type, CpuLevel level);

  int64_t rows() const { return rows_; }
  const BitmaskCode& code() const { return code_; }
  /// Rows from `row` on.
  BitmaskCall call(int64_t row) const;

 private:
  struct alignas(64) Line {
    char bytes[64];
  };
  char* begin(int64_t row) { return reinterpret_cast<char*>(memory_.data()) + row * row_bytes_; }

  BitmaskCode code_;
  int64_t rows_ = 0;
  int64_t words_ = 0;
  int64_t row_bytes_ = 0;
  std::vector<Line> memory_;
  std::vector<double> units_;
  std::vector<double> shifts_;
};

/// y [rows of x, weight.outputs], of the outputs [begin, end). Sums of one output are in one order,
/// whatever stands beside it.
void bitmask_products(const BitmaskInput& x, const StoredMatrix& weight, int64_t begin, int64_t end,
                      float* y);

/// Rows [begin, end) as FP32 [end − begin, columns].
void unpack_bitmask(const StoredMatrix& matrix, int64_t begin, int64_t end, float* out,
                    CpuLevel level);

/// Bytes of numbers and masks in front of an output.
int64_t bitmask_bytes_before(const StoredMatrix& matrix, int64_t output);

}  // namespace prunus::kernel
