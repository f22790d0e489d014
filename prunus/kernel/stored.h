#pragma once
#include <cstdint>

namespace prunus::kernel {

/// How the numbers of a matrix lie in memory: as FP32, BF16, F16, in GGUF's blocks of 32 or 256
/// numbers of a row (io/gguf_blocks.h; layouts: docs/formats/gguf.md), or without zeros, in BF16 or
/// 8 bits (io/bitmask.h; docs/formats/bitmask.md).
enum class Stored {
  Float,
  BFloat16,
  Half,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q4_K,
  Q5_K,
  Q6_K,
  BitmaskBFloat16,
  BitmaskInt8
};

/// What a matrix without zeros has beside its numbers.
struct StoredMask {
  const uint8_t* bits = nullptr;         ///< [outputs, row_bytes], whole words of 64 columns
  const int64_t* row_offsets = nullptr;  ///< [outputs]: where in `data` a row begins
  int64_t end = 0;                       ///< behind the last row's last number in `data`
  const float* scales = nullptr;         ///< [outputs], of 8 bits
};

/// [outputs, columns], rows `row_bytes` apart. Of blocks, a row is a whole number of them; without
/// zeros, row_bytes are those of the mask.
struct StoredMatrix {
  Stored type = Stored::Float;
  const void* data = nullptr;
  int64_t row_bytes = 0;
  int64_t outputs = 0;
  int64_t columns = 0;
  StoredMask mask = {};
};

inline bool is_bitmask(Stored type) { return type >= Stored::BitmaskBFloat16; }

}  // namespace prunus::kernel
