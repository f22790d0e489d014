#pragma once
// Vectors of floats for kernels that are compiled several times in one file, each time for other
// instructions: templates over the number of lanes, inlined into functions that have a target
// attribute (kernel/targets.h). Only what GCC and Clang do with vector types stands here, since an
// intrinsic cannot be inlined into a function for a lower target.
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <numbers>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace prunus::kernel {

#define PRUNUS_ALWAYS __attribute__((always_inline))
#define PRUNUS_INLINE inline PRUNUS_ALWAYS
#define PRUNUS_UNROLL _Pragma("GCC unroll 8")

template <int kLanes>
struct VectorTypes {
  using Lanes __attribute__((vector_size(4 * kLanes))) = float;
  using Integers __attribute__((vector_size(4 * kLanes))) = int32_t;
  using Words __attribute__((vector_size(4 * kLanes))) = uint32_t;
  using Halves __attribute__((vector_size(2 * kLanes))) = uint16_t;
  using UnalignedLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias)) = float;
  using UnalignedHalves __attribute__((vector_size(2 * kLanes), aligned(2), may_alias)) = uint16_t;
  using UnalignedBytes __attribute__((vector_size(kLanes), aligned(1), may_alias)) = uint8_t;
  using UnalignedSigned __attribute__((vector_size(kLanes), aligned(1), may_alias)) = int8_t;
};

// GCC 12 takes a conversion to lanes two or four times as wide apart into halves (Clang does not),
// in eight to forty instructions where there is one.
#if defined(__x86_64__) && !defined(__clang__)
#define PRUNUS_WIDEN(instruction, result, from)              \
  if constexpr (kLanes > 4) {                                \
    result wide;                                             \
    __asm__(instruction " %1, %0" : "=v"(wide) : "m"(from)); \
    return wide;                                             \
  }
#else
#define PRUNUS_WIDEN(instruction, result, from)
#endif

template <int kLanes>
struct Vector {
  using Lanes = typename VectorTypes<kLanes>::Lanes;
  using Integers = typename VectorTypes<kLanes>::Integers;
  using Words = typename VectorTypes<kLanes>::Words;
  using Halves = typename VectorTypes<kLanes>::Halves;
  using UnalignedLanes = typename VectorTypes<kLanes>::UnalignedLanes;
  using UnalignedHalves = typename VectorTypes<kLanes>::UnalignedHalves;
  using UnalignedBytes = typename VectorTypes<kLanes>::UnalignedBytes;
  using UnalignedSigned = typename VectorTypes<kLanes>::UnalignedSigned;

  static PRUNUS_INLINE Lanes load(const float* from) {
    return *reinterpret_cast<const UnalignedLanes*>(from);
  }
  static PRUNUS_INLINE Lanes load(const c10::BFloat16* from) {
    return __builtin_bit_cast(Lanes, load_halves(from) << 16);
  }
  /// Subnormal numbers, infinities and NaN too.
  static PRUNUS_INLINE Lanes load(const c10::Half* from) {
    constexpr float kTwoTo112 = 0x1p112F;  // between the two exponents' biases
    PRUNUS_WIDEN("vcvtph2ps", Lanes, *reinterpret_cast<const UnalignedHalves*>(from))
    const Words raw = load_halves(from);
    const Lanes scaled = __builtin_bit_cast(Lanes, (raw & 0x7fff) << 13) * kTwoTo112;
    const Words bits = __builtin_bit_cast(Words, scaled);
    const Words endless = (raw & 0x7c00) == 0x7c00 ? Words{} + 0x7f800000 : Words{};
    return __builtin_bit_cast(Lanes, bits | endless | ((raw & 0x8000) << 16));
  }

  static PRUNUS_INLINE Words load_bytes(const uint8_t* from) {
    PRUNUS_WIDEN("vpmovzxbd", Words, *reinterpret_cast<const UnalignedBytes*>(from))
    return __builtin_convertvector(*reinterpret_cast<const UnalignedBytes*>(from), Words);
  }
  static PRUNUS_INLINE Lanes load_signed(const uint8_t* from) {
    return __builtin_convertvector(load_signed_bytes(from), Lanes);
  }
  /// Bit first + i of `word` in lane i.
  static PRUNUS_INLINE Words spread_bits(uint32_t word, int64_t first) {
    Words places;
    for (int i = 0; i < kLanes; ++i) places[i] = static_cast<uint32_t>(first + i);
    return (Words{} + word) >> places & 1;
  }
  /// Of integers below 2^31.
  static PRUNUS_INLINE Lanes number(Words bits) {
    return __builtin_convertvector(__builtin_bit_cast(Integers, bits), Lanes);
  }

  static PRUNUS_INLINE void store(float* to, Lanes x) {
    *reinterpret_cast<UnalignedLanes*>(to) = x;
  }
  /// To the nearest, of two as near the even one; NaN stays NaN.
  static PRUNUS_INLINE void store(c10::BFloat16* to, Lanes x) {
    const Words bits = __builtin_bit_cast(Words, x);
    const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Words chosen = x == x ? rounded : Words{} + 0x7fc0;
    *reinterpret_cast<UnalignedHalves*>(to) = __builtin_convertvector(chosen, Halves);
  }
  static PRUNUS_INLINE void store(c10::Half* to, Lanes x) {
    for (int i = 0; i < kLanes; ++i) to[i] = static_cast<c10::Half>(static_cast<float>(x[i]));
  }

  static PRUNUS_INLINE Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

  /// Of all lanes, always in the same order: halves onto each other.
  template <typename Join>
  static PRUNUS_INLINE float joined(Lanes x, Join join) {
    if constexpr (kLanes == 16) {
      return Vector<8>::joined(join(__builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7),
                                    __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15)),
                               join);
    } else if constexpr (kLanes == 8) {
      return Vector<4>::joined(join(__builtin_shufflevector(x, x, 0, 1, 2, 3),
                                    __builtin_shufflevector(x, x, 4, 5, 6, 7)),
                               join);
    } else {
      const Lanes pairs = join(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
      return join(pairs, __builtin_shufflevector(pairs, pairs, 1, 0, 3, 2))[0];
    }
  }
  static PRUNUS_INLINE float sum(Lanes x) {
    return joined(x, [](auto a, auto b) PRUNUS_ALWAYS { return a + b; });
  }

  /// 2^x within 2e-7 relative; 0 … 2^-126 below −126, infinity from 128 on; NaN stays NaN. The
  /// whole part goes into the exponent's bits, the rest, within ±1/2, into its series.
  static PRUNUS_INLINE Lanes power_of_two(Lanes x) {
    constexpr float kTwoTo23Half = 12582912.0F;  // 1.5 · 2^23: sums with it have no fraction
    constexpr float kLn2 = std::numbers::ln2_v<float>;
    constexpr float k2 = kLn2 * kLn2 / 2, k3 = k2 * kLn2 / 3, k4 = k3 * kLn2 / 4;
    constexpr float k5 = k4 * kLn2 / 5, k6 = k5 * kLn2 / 6;
    x = x < -126.0F ? Lanes{} - 126.0F : x;
    x = x > 128.0F ? Lanes{} + 128.0F : x;
    const Lanes shifted = x + kTwoTo23Half;
    const Lanes rest = x - (shifted - kTwoTo23Half);
    const Lanes series =
        (((((k6 * rest + k5) * rest + k4) * rest + k3) * rest + k2) * rest + kLn2) * rest + 1.0F;
    const Integers exponent = (__builtin_bit_cast(Integers, shifted) << 23) + 0x3f800000;
    return series * __builtin_bit_cast(Lanes, exponent);
  }

 private:
  static PRUNUS_INLINE Words load_halves(const void* from) {
    PRUNUS_WIDEN("vpmovzxwd", Words, *static_cast<const UnalignedHalves*>(from))
    return __builtin_convertvector(*static_cast<const UnalignedHalves*>(from), Words);
  }
  static PRUNUS_INLINE Integers load_signed_bytes(const uint8_t* from) {
    PRUNUS_WIDEN("vpmovsxbd", Integers, *reinterpret_cast<const UnalignedSigned*>(from))
    return __builtin_convertvector(*reinterpret_cast<const UnalignedSigned*>(from), Integers);
  }
};

}  // namespace prunus::kernel
