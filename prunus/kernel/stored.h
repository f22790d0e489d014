#pragma once
#include <cstdint>

namespace prunus::kernel {

/// How the numbers of a matrix lie in memory: as FP32, BF16, F16, or in GGUF's blocks of 32 or 256
/// numbers of a row (io/gguf_blocks.h; layouts: docs/formats/gguf.md).
enum class Stored { Float, BFloat16, Half, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K };

/// [outputs, columns], rows `row_bytes` apart. Of blocks, a row is a whole number of them.
struct StoredMatrix {
  Stored type = Stored::Float;
  const void* data = nullptr;
  int64_t row_bytes = 0;
  int64_t outputs = 0;
  int64_t columns = 0;
};

}  // namespace prunus::kernel
