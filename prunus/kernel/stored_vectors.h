#pragma once
// Vectors of a stored row's numbers, widened in registers: what row products multiply. A row is
// read in groups of kGroup numbers, which have one scale. Every product and sum of a block's
// numbers is FP32, but for one thing the values of io/gguf_blocks: the compiler may join a product
// and a sum.
#include "prunus/kernel/vectors.h"

namespace prunus::kernel {

using Byte = uint8_t;

// The F16 number at `from`. Both AVX levels can have it in one instruction, which is half of the
// work on a group of 32.
template <int kLanes>
PRUNUS_INLINE float half_at(const Byte* from) {
  uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
#if defined(__x86_64__)
  if constexpr (kLanes > 4) {
    typename VectorTypes<4>::Lanes wide;
    __asm__("vmovd %1, %0\n\tvcvtph2ps %0, %0" : "=x"(wide) : "r"(uint32_t{bits}));
    return wide[0];
  }
#endif
  const float scaled = std::bit_cast<float>(static_cast<uint32_t>(bits & 0x7fff) << 13) * 0x1p112F;
  const uint32_t endless = (bits & 0x7c00) == 0x7c00 ? 0x7f800000U : 0U;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | endless |
                              static_cast<uint32_t>(bits & 0x8000) << 16);
}

template <typename T>
struct Plain {
  using Number = T;
  static constexpr int64_t kGroup = 32;
  struct Group {
    const T* values;
  };
  template <int kLanes>
  static PRUNUS_INLINE Group group(const void* row, int64_t index) {
    return {static_cast<const T*>(row) + index * kGroup};
  }
  template <int kLanes>
  static PRUNUS_INLINE auto load(const Group& group, int64_t at) {
    return Vector<kLanes>::load(group.values + at);
  }
};

struct BlockQ8_0 {
  static constexpr int64_t kGroup = 32;
  struct Group {
    const Byte* values;
    float scale;
  };
  template <int kLanes>
  static PRUNUS_INLINE Group group(const void* row, int64_t index) {
    const Byte* block = static_cast<const Byte*>(row) + index * 34;
    return {block + 2, half_at<kLanes>(block)};
  }
  template <int kLanes>
  static PRUNUS_INLINE auto load(const Group& group, int64_t at) {
    return group.scale * Vector<kLanes>::load_signed(group.values + at);
  }
};

// d, the minimum where there is one, where there are five bits a word of the fifth ones, and 16
// bytes: numbers 0 to 15 in the low halves, 16 to 31 in the high ones.
template <int kBits, bool kMinimum>
struct Block32 {
  static constexpr int64_t kGroup = 32;
  static constexpr int64_t kFifth = kMinimum ? 4 : 2;
  static constexpr int64_t kHeader = kFifth + (kBits == 5 ? 4 : 0);
  struct Group {
    const Byte* values;
    float scale;
    float first;  // what 0 stands for
    uint32_t fifth;
  };
  template <int kLanes>
  static PRUNUS_INLINE Group group(const void* row, int64_t index) {
    const Byte* block = static_cast<const Byte*>(row) + index * (kHeader + 16);
    const float scale = half_at<kLanes>(block);
    const float zero = kBits == 5 ? -16 : -8;
    uint32_t fifth = 0;
    if constexpr (kBits == 5) std::memcpy(&fifth, block + kFifth, sizeof(fifth));
    return {block + kHeader, scale, kMinimum ? half_at<kLanes>(block + 2) : zero * scale, fifth};
  }
  template <int kLanes>
  static PRUNUS_INLINE auto load(const Group& group, int64_t at) {
    using V = Vector<kLanes>;
    auto bits = V::load_bytes(group.values + at % 16);
    bits = at < 16 ? bits & 15 : bits >> 4;
    if constexpr (kBits == 5) bits |= V::spread_bits(group.fifth, at) << 4;
    return group.scale * V::number(bits) + group.first;
  }
};
using BlockQ4_0 = Block32<4, false>;
using BlockQ4_1 = Block32<4, true>;
using BlockQ5_0 = Block32<5, false>;
using BlockQ5_1 = Block32<5, true>;

// Blocks of 256: d, dmin, 12 bytes of six-bit scales and minima of 8 groups, in Q5_K 32 bytes of
// fifth bits, 128 bytes of four bits: 32 hold a group in their low halves, the next in their high.
template <bool kFifth>
struct BlockK {
  static constexpr int64_t kGroup = 32;
  static constexpr int64_t kBytes = kFifth ? 176 : 144;
  struct Group {
    const Byte* values;
    const Byte* fifth;
    int shift;
    int place;  // of the group in its block
    float scale;
    float minimum;
  };
  template <int kLanes>
  static PRUNUS_INLINE Group group(const void* row, int64_t index) {
    const Byte* block = static_cast<const Byte*>(row) + index / 8 * kBytes;
    const auto place = static_cast<int>(index % 8);
    const Byte* packed = block + 4;
    int scale = packed[place] & 63, minimum = packed[place + 4] & 63;
    if (place >= 4) {
      scale = (packed[place + 4] & 15) | packed[place - 4] >> 6 << 4;
      minimum = packed[place + 4] >> 4 | packed[place] >> 6 << 4;
    }
    return {block + (kFifth ? 48 : 16) + place / 2 * 32,
            block + 16,
            place % 2 * 4,
            place,
            half_at<kLanes>(block) * static_cast<float>(scale),
            half_at<kLanes>(block + 2) * static_cast<float>(minimum)};
  }
  template <int kLanes>
  static PRUNUS_INLINE auto load(const Group& group, int64_t at) {
    auto bits = Vector<kLanes>::load_bytes(group.values + at) >> group.shift & 15;
    if constexpr (kFifth) {
      bits |= (Vector<kLanes>::load_bytes(group.fifth + at) >> group.place & 1) << 4;
    }
    return group.scale * Vector<kLanes>::number(bits) - group.minimum;
  }
};
using BlockQ4_K = BlockK<false>;
using BlockQ5_K = BlockK<true>;

// Blocks of 256: 128 bytes of four low bits, 64 of two high ones, 16 signed scales, d. Half a block
// has 64 bytes of low bits (numbers 0 to 63, then 64 to 127) and 32 of high ones, four times 32.
struct BlockQ6_K {
  static constexpr int64_t kGroup = 16;
  struct Group {
    const Byte* low;
    const Byte* high;
    int low_shift;
    int high_shift;
    float scale;
  };
  template <int kLanes>
  static PRUNUS_INLINE Group group(const void* row, int64_t index) {
    const Byte* block = static_cast<const Byte*>(row) + index / 16 * 210;
    const auto place = static_cast<int>(index % 16), in_half = place % 8;
    return {
        block + place / 8 * 64 + in_half % 4 * 16, block + 128 + place / 8 * 32 + in_half % 2 * 16,
        in_half / 4 * 4, in_half / 2 * 2,
        half_at<kLanes>(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + place]))};
  }
  template <int kLanes>
  static PRUNUS_INLINE auto load(const Group& group, int64_t at) {
    using V = Vector<kLanes>;
    const auto low = V::load_bytes(group.low + at) >> group.low_shift & 15;
    const auto high = V::load_bytes(group.high + at) >> group.high_shift & 3;
    return group.scale * (V::number(low | high << 4) - 32.0F);
  }
};

}  // namespace prunus::kernel
