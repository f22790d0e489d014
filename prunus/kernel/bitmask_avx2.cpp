#include "prunus/kernel/bitmask_block.h"

#if defined(__x86_64__)

#include <array>
#include <bit>
#include <cstring>
#include <immintrin.h>

#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

#define PRUNUS_AVX2 __attribute__((target("avx2,fma,popcnt")))

// For eight columns' bits: which of the next numbers each column gets, by their bytes; 128: none.
template <size_t kBytes>
struct alignas(64) Places {
  uint8_t of[256][8 * kBytes];
};
template <size_t kBytes>
constexpr Places<kBytes> places() {
  Places<kBytes> table{};
  for (size_t bits = 0; bits < 256; ++bits) {
    size_t next = 0;
    for (size_t column = 0; column < 8; ++column) {
      const bool there = (bits >> column & 1) != 0;
      for (size_t byte = 0; byte < kBytes; ++byte) {
        table.of[bits][column * kBytes + byte] =
            static_cast<uint8_t>(there ? next * kBytes + byte : 128);
      }
      next += there ? 1 : 0;
    }
  }
  return table;
}
constexpr Places<2> kHalfPlaces = places<2>();
constexpr Places<1> kBytePlaces = places<1>();

PRUNUS_AVX2 PRUNUS_INLINE __m256 eight(const uint16_t* values, uint8_t bits) {
  const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  const __m128i at = _mm_load_si128(reinterpret_cast<const __m128i*>(kHalfPlaces.of[bits]));
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_shuffle_epi8(all, at));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
PRUNUS_AVX2 PRUNUS_INLINE __m256 eight(const int8_t* values, uint8_t bits) {
  const __m128i all = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  const __m128i at = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kBytePlaces.of[bits]));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(all, at)));
}

PRUNUS_AVX2 PRUNUS_INLINE float sum_of(__m256 x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

template <typename T, int kRows>
PRUNUS_AVX2 void block(const BitmaskCall& call, const BitmaskRow* output, float* sums) {
  const auto* values = static_cast<const T*>(output->values);
  __m256 all[kRows][2] = {};
  for (int64_t word = 0; word < call.words; ++word) {
    uint64_t bits = 0;
    std::memcpy(&bits, output->mask + 8 * word, sizeof(bits));
    const auto* ahead = reinterpret_cast<const char*>(values) + call.values_ahead;
    __builtin_prefetch(ahead);
    if constexpr (sizeof(T) == 2) __builtin_prefetch(ahead + 64);
    if (word % 8 == 0) __builtin_prefetch(output->mask + 8 * word + call.mask_ahead);
    PRUNUS_UNROLL for (int64_t i = 0; i < 8; ++i) {
      const auto some = static_cast<uint8_t>(bits >> 8 * i);
      const __m256 weights = eight(values, some);
      values += _mm_popcnt_u32(some);
      PRUNUS_UNROLL for (int64_t r = 0; r < kRows; ++r) {
        const auto* x =
            reinterpret_cast<const float*>(static_cast<const char*>(call.x) + r * call.x_bytes);
        __m256& sum = all[static_cast<size_t>(r)][static_cast<size_t>(i % 2)];
        sum = _mm256_fmadd_ps(weights, _mm256_load_ps(x + 64 * word + 8 * i), sum);
      }
    }
  }
  PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
    sums[r] = sum_of(_mm256_add_ps(all[r][0], all[r][1]));
  }
}

template <typename T>
PRUNUS_AVX2 void unpack(const BitmaskRow& row, int64_t columns, float* out) {
  const auto* values = static_cast<const T*>(row.values);
  for (int64_t column = 0; column < columns; column += 8) {
    const uint8_t bits = row.mask[column / 8];
    const __m256 numbers = eight(values, bits);
    values += _mm_popcnt_u32(bits);
    if (column + 8 <= columns) {
      _mm256_storeu_ps(out + column, numbers);
    } else {
      std::array<float, 8> last;
      _mm256_storeu_ps(last.data(), numbers);
      std::memcpy(out + column, last.data(), static_cast<size_t>(columns - column) * sizeof(float));
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

BitmaskCode avx2_bitmask(Stored type) {
  return type == Stored::BitmaskInt8 ? code<int8_t>() : code<uint16_t>();
}

}  // namespace prunus::kernel

#endif
