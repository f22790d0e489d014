#include "prunus/kernel/bitmask_block.h"

#if defined(__x86_64__)

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <immintrin.h>

#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

#define PRUNUS_VBMI                                                       \
  __attribute__((                                                         \
      target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2," \
             "avx512bitalg,avx512vpopcntdq,avx512vnni,avx2,fma,popcnt")))
#define PRUNUS_VBMI_BF16                                                  \
  __attribute__((                                                         \
      target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2," \
             "avx512bitalg,avx512vpopcntdq,avx512vnni,avx512bf16,avx2,fma,popcnt")))

PRUNUS_VBMI PRUNUS_INLINE uint64_t word_at(const BitmaskRow& row, int64_t word) {
  uint64_t bits = 0;
  std::memcpy(&bits, row.mask + 8 * word, sizeof(bits));
  return bits;
}

PRUNUS_VBMI PRUNUS_INLINE void ask_ahead(const BitmaskCall& call, const BitmaskRow& row,
                                         int64_t word, const void* values, bool halves) {
  const auto* ahead = static_cast<const char*>(values) + call.values_ahead;
  __builtin_prefetch(ahead);
  if (halves) __builtin_prefetch(ahead + 64);
  if (word % 8 == 0) __builtin_prefetch(row.mask + 8 * word + call.mask_ahead);
}

// 32 columns: a number where there is a bit. Loaded first: the instruction that reads memory itself
// is several times slower on AMD's processors.
PRUNUS_VBMI PRUNUS_INLINE __m512i spread(const uint16_t* values, uint32_t bits) {
  __m512i next = _mm512_loadu_si512(values);
  __asm__("" : "+v"(next));
  return _mm512_maskz_expand_epi16(bits, next);
}

// Of 64 columns, how many bits there are in front of each: whole bytes, and inside of its byte.
PRUNUS_VBMI PRUNUS_INLINE __m512i bits_before(uint64_t bits) {
  const __m512i own = _mm512_set_epi64(0x0707070707070707, 0x0606060606060606, 0x0505050505050505,
                                       0x0404040404040404, 0x0303030303030303, 0x0202020202020202,
                                       0x0101010101010101, 0);
  const __m512i inside = _mm512_set1_epi64(0x7f3f1f0f07030100);
  const __m512i bytes = _mm512_set_epi64(0xffffffffffffff, 0xffffffffffff, 0xffffffffff, 0xffffffff,
                                         0xffffff, 0xffff, 0xff, 0);
  const __m512i first = _mm512_set4_epi32(0x08080808, 0x08080808, 0, 0);  // of each eight bytes
  const __m512i all = _mm512_set1_epi64(static_cast<int64_t>(bits));
  const __m512i in_byte =
      _mm512_popcnt_epi8(_mm512_and_si512(_mm512_shuffle_epi8(all, own), inside));
  const __m512i in_front = _mm512_popcnt_epi64(_mm512_and_si512(all, bytes));
  return _mm512_add_epi8(in_byte, _mm512_shuffle_epi8(in_front, first));
}

// 64 columns. A table look-up, since vpexpandb takes longer.
PRUNUS_VBMI PRUNUS_INLINE __m512i spread(const int8_t* values, uint64_t bits) {
  return _mm512_maskz_permutexvar_epi8(bits, bits_before(bits), _mm512_loadu_si512(values));
}

template <typename T>
PRUNUS_VBMI PRUNUS_INLINE const T* x_at(const BitmaskCall& call, int64_t row) {
  return reinterpret_cast<const T*>(static_cast<const char*>(call.x) + row * call.x_bytes);
}

PRUNUS_VBMI PRUNUS_INLINE int64_t sum_of(__m512i x) {
  const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(x));
  const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(x, 1));
  return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
}

// BF16, layout Pairs: half of the numbers stand in the upper 16 bits of a lane as they are.
template <int kRows, int kOutputs>
PRUNUS_VBMI void pairs_block(const BitmaskCall& call, const BitmaskRow* outputs, float* sums) {
  std::array<const uint16_t*, kOutputs> values;
  __m512 all[kRows][kOutputs][2] = {};
  PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
    values[j] = static_cast<const uint16_t*>(outputs[j].values);
  }
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  for (int64_t word = 0; word < call.words; ++word) {
    PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
      ask_ahead(call, outputs[j], word, values[j], true);
      const uint64_t bits = word_at(outputs[j], word);
      PRUNUS_UNROLL for (int64_t half = 0; half < 2; ++half) {
        const auto some = static_cast<uint32_t>(bits >> 32 * half);
        const __m512i numbers = spread(values[j], some);
        values[j] += _mm_popcnt_u32(some);
        const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(numbers, 16));
        const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(numbers, upper));
        PRUNUS_UNROLL for (int64_t r = 0; r < kRows; ++r) {
          const float* x = x_at<float>(call, r) + 64 * word + 32 * half;
          auto& sum = all[static_cast<size_t>(r)][j];
          sum[0] = _mm512_fmadd_ps(even, _mm512_load_ps(x), sum[0]);
          sum[1] = _mm512_fmadd_ps(odd, _mm512_load_ps(x + 16), sum[1]);
        }
      }
    }
  }
  PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
    PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
      sums[r * kOutputs + j] = _mm512_reduce_add_ps(_mm512_add_ps(all[r][j][0], all[r][j][1]));
    }
  }
}

// BF16, layout Halves: two products and their sum in a lane at once.
template <int kRows, int kOutputs>
PRUNUS_VBMI_BF16 void halves_block(const BitmaskCall& call, const BitmaskRow* outputs,
                                   float* sums) {
  std::array<const uint16_t*, kOutputs> values;
  __m512 all[kRows][kOutputs][3] = {};
  PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
    values[j] = static_cast<const uint16_t*>(outputs[j].values);
  }
  for (int64_t word = 0; word < call.words; ++word) {
    PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
      ask_ahead(call, outputs[j], word, values[j], true);
      const uint64_t bits = word_at(outputs[j], word);
      PRUNUS_UNROLL for (int64_t half = 0; half < 2; ++half) {
        const auto some = static_cast<uint32_t>(bits >> 32 * half);
        const __m512i numbers = spread(values[j], some);
        values[j] += _mm_popcnt_u32(some);
        PRUNUS_UNROLL for (int64_t r = 0; r < kRows; ++r) {
          const uint16_t* x = x_at<uint16_t>(call, r) + 3 * (64 * word + 32 * half);
          auto& sum = all[static_cast<size_t>(r)][j];
          PRUNUS_UNROLL for (size_t part = 0; part < 3; ++part) {
            const __m512i some_x = _mm512_load_si512(x + 32 * part);
            sum[part] = _mm512_dpbf16_ps(sum[part], (__m512bh)numbers, (__m512bh)some_x);
          }
        }
      }
    }
  }
  PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
    PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
      const auto& sum = all[r][j];
      sums[r * kOutputs + j] =
          _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[2], sum[1]), sum[0]));
    }
  }
}

// 8 bits, layout Bytes. The instruction wants one factor without a sign: q + 128.
template <int kRows, int kOutputs>
PRUNUS_VBMI void bytes_block(const BitmaskCall& call, const BitmaskRow* outputs, float* sums) {
  std::array<const int8_t*, kOutputs> values;
  __m512i all[kRows][kOutputs][3] = {};
  PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
    values[j] = static_cast<const int8_t*>(outputs[j].values);
  }
  const __m512i middle = _mm512_set1_epi8(-128);
  for (int64_t word = 0; word < call.words; ++word) {
    PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
      ask_ahead(call, outputs[j], word, values[j], false);
      const uint64_t bits = word_at(outputs[j], word);
      const __m512i numbers = _mm512_xor_si512(spread(values[j], bits), middle);
      values[j] += _mm_popcnt_u64(bits);
      PRUNUS_UNROLL for (int64_t r = 0; r < kRows; ++r) {
        const int8_t* x = x_at<int8_t>(call, r) + 3 * 64 * word;
        auto& sum = all[static_cast<size_t>(r)][j];
        PRUNUS_UNROLL for (size_t digit = 0; digit < 3; ++digit) {
          sum[digit] = _mm512_dpbusd_epi32(sum[digit], numbers, _mm512_load_si512(x + 64 * digit));
        }
      }
    }
  }
  PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
    PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
      const auto& sum = all[r][j];
      const int64_t whole = (sum_of(sum[0]) * 256 + sum_of(sum[1])) * 256 + sum_of(sum[2]);
      sums[r * kOutputs + j] =
          static_cast<float>((static_cast<double>(whole) - call.shift[r]) * call.unit[r]);
    }
  }
}

PRUNUS_VBMI_BF16 PRUNUS_INLINE __m512 widened(__m256bh x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)x), 16));
}

}  // namespace

PRUNUS_VBMI_BF16 void split_into_halves(const float* x, int64_t columns, uint16_t* out) {
  for (int64_t at = 0; at < columns; at += 16) {
    __m512 rest = _mm512_loadu_ps(x + at);
    uint16_t* to = out + at / 32 * 96 + at % 32;
    for (int part = 0; part < 3; ++part) {
      const __m256bh half = _mm512_cvtneps_pbh(rest);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32 * part), (__m256i)half);
      rest = _mm512_sub_ps(rest, widened(half));
    }
  }
}

PRUNUS_VBMI void split_into_bytes(const float* x, int64_t columns, int8_t* out, double& unit,
                                  double& shift) {
  constexpr float kMost = 127 * 65536;
  __m512 largest = _mm512_setzero_ps();
  bool finite = true;
  for (int64_t at = 0; at < columns; at += 16) {
    const __m512 some = _mm512_abs_ps(_mm512_loadu_ps(x + at));
    finite = finite && _mm512_cmp_ps_mask(some, _mm512_set1_ps(std::numeric_limits<float>::max()),
                                          _CMP_NLE_UQ) == 0;
    largest = _mm512_max_ps(largest, some);
  }
  const float most = _mm512_reduce_max_ps(largest);
  const float by = finite && most > 0 ? kMost / most : 0;
  // Of numbers near the smallest the factor has no float.
  const bool usable = std::isfinite(by);
  unit = !finite ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(most) / kMost;
  const __m512 factor = _mm512_set1_ps(usable ? by : 0);
  const __m512i round = _mm512_set1_epi32(128);
  __m512i sum = _mm512_setzero_si512();
  for (int64_t at = 0; at < columns; at += 16) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + at), factor);
    __m512i n = finite ? _mm512_cvtps_epi32(scaled) : _mm512_setzero_si512();
    sum = _mm512_add_epi64(sum, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(n)));
    sum = _mm512_add_epi64(sum, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(n, 1)));
    int8_t* to = out + at / 64 * 192 + at % 64;
    for (int64_t digit = 2; digit >= 0; --digit) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 64 * digit), _mm512_cvtepi32_epi8(n));
      n = _mm512_srai_epi32(_mm512_add_epi32(n, round), 8);
    }
  }
  shift = 128.0 * static_cast<double>(_mm512_reduce_add_epi64(sum));
}

BitmaskCode vbmi_bitmask(Stored type, CpuLevel level) {
  BitmaskCode code = avx2_bitmask(type);  // for unpack()
  code.most_outputs = 2;
  const auto fill = [&](BitmaskLayout layout, const BitmaskBlock(&blocks)[2][3]) {
    code.layout = layout;
    for (size_t j = 0; j < 2; ++j)
      std::copy(std::begin(blocks[j]), std::end(blocks[j]), code.blocks[j]);
  };
  if (type == Stored::BitmaskInt8) {
    fill(BitmaskLayout::Bytes, {{bytes_block<1, 1>, bytes_block<2, 1>, bytes_block<4, 1>},
                                {bytes_block<1, 2>, bytes_block<2, 2>, bytes_block<4, 2>}});
  } else if (level == CpuLevel::Avx512Bf16) {
    fill(BitmaskLayout::Halves, {{halves_block<1, 1>, halves_block<2, 1>, halves_block<4, 1>},
                                 {halves_block<1, 2>, halves_block<2, 2>, halves_block<4, 2>}});
  } else {
    fill(BitmaskLayout::Pairs, {{pairs_block<1, 1>, pairs_block<2, 1>, pairs_block<4, 1>},
                                {pairs_block<1, 2>, pairs_block<2, 2>, pairs_block<4, 2>}});
  }
  return code;
}

}  // namespace prunus::kernel

#endif
