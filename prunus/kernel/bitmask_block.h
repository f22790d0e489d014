#pragma once
// Between bitmask_product.cpp and the code for each level of instructions.
#include <cstdint>

#include "prunus/base/cpu.h"
#include "prunus/kernel/stored.h"

namespace prunus::kernel {

/// A row of a matrix. 64 bytes can be read from behind its last number.
struct BitmaskRow {
  const void* values = nullptr;
  const uint8_t* mask = nullptr;
};

/// Some rows of x, prepared, and how far ahead memory is asked for.
struct BitmaskCall {
  const void* x = nullptr;
  int64_t x_bytes = 0;  ///< from row to row
  int64_t words = 0;    ///< of 64 columns
  int64_t values_ahead = 0;
  int64_t mask_ahead = 0;
  const double* unit = nullptr;   ///< by row of x, of the layout Bytes
  const double* shift = nullptr;  ///< likewise
};

/// sums [rows of x, outputs]; without the scales of 8-bit rows.
using BitmaskBlock = void (*)(const BitmaskCall& call, const BitmaskRow* outputs, float* sums);

/// How x is laid out, padded with zeros to whole words of 64 columns; a row begins at a multiple of
/// 64 bytes.
enum class BitmaskLayout {
  Plain,   ///< FP32
  Pairs,   ///< FP32, of every 32 columns the even ones, then the odd ones
  Halves,  ///< three BF16 whose sum x is: of every 32 columns the first ones, the second, the third
  Bytes,  ///< of every 64 columns the digits h, m, l of n = (256·h + m)·256 + l, each −128 … 127,
          ///< x = n · unit; shift is 128 · Σ n
};

/// What a level has for one type of numbers.
struct BitmaskCode {
  BitmaskLayout layout = BitmaskLayout::Plain;
  int most_outputs = 1;            ///< of one call: 1 or 2
  BitmaskBlock blocks[2][3] = {};  ///< [outputs 1, 2][rows of x 1, 2, 4]
  void (*unpack)(const BitmaskRow& row, int64_t columns, float* out) = nullptr;
};

BitmaskCode portable_bitmask(Stored type);
#if defined(__x86_64__)
BitmaskCode avx2_bitmask(Stored type);
/// Of Avx512Vbmi, or of Avx512Bf16 where it is the level.
BitmaskCode vbmi_bitmask(Stored type, CpuLevel level);
/// A row of x in the layouts Halves and Bytes. `columns`: whole words of 64, padded.
void split_into_halves(const float* x, int64_t columns, uint16_t* out);
void split_into_bytes(const float* x, int64_t columns, int8_t* out, double& unit, double& shift);
#endif

}  // namespace prunus::kernel
