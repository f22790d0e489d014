#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "prunus/kernel/bitmask_block.h"
#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

float number(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }
float number(int8_t integer) { return static_cast<float>(integer); }

uint64_t word_at(const uint8_t* mask, int64_t word) {
  uint64_t bits = 0;
  for (int64_t i = 7; i >= 0; --i) bits = bits << 8 | mask[8 * word + i];
  return bits;
}

template <typename T, int kRows>
void block(const BitmaskCall& call, const BitmaskRow* output, float* sums) {
  const auto* values = static_cast<const T*>(output->values);
  std::array<float, kRows> all{};
  for (int64_t word = 0; word < call.words; ++word) {
    std::array<float, kRows> some{};
    for (uint64_t bits = word_at(output->mask, word); bits != 0; bits &= bits - 1) {
      const int64_t column = 64 * word + std::countr_zero(bits);
      const float weight = number(*values++);
      for (size_t r = 0; r < kRows; ++r) {
        const char* row = static_cast<const char*>(call.x) + static_cast<int64_t>(r) * call.x_bytes;
        some[r] += weight * reinterpret_cast<const float*>(row)[column];
      }
    }
    for (size_t r = 0; r < kRows; ++r) all[r] += some[r];
  }
  std::copy(all.begin(), all.end(), sums);
}

template <typename T>
void unpack(const BitmaskRow& row, int64_t columns, float* out) {
  const auto* values = static_cast<const T*>(row.values);
  std::fill(out, out + columns, 0.0F);
  for (int64_t word = 0; 64 * word < columns; ++word) {
    for (uint64_t bits = word_at(row.mask, word); bits != 0; bits &= bits - 1) {
      out[64 * word + std::countr_zero(bits)] = number(*values++);
    }
  }
}

template <typename T>
BitmaskCode code() {
  return {.layout = BitmaskLayout::Plain,
          .most_outputs = 1,
          .blocks = {{block<T, 1>, block<T, 2>, block<T, 4>}},
          .unpack = unpack<T>};
}

}  // namespace

BitmaskCode portable_bitmask(Stored type) {
  return type == Stored::BitmaskInt8 ? code<int8_t>() : code<uint16_t>();
}

}  // namespace prunus::kernel
