#pragma once
#include <cmath>
#include <cstdint>

#include <c10/util/Half.h>

#include "prunus/base/error.h"

namespace prunus {

/// `value` rounded to a half, to nearest even, as bits. Throws Numeric where that is infinite.
inline uint16_t half_bits(float value) {
  const c10::Half half(value);
  PRUNUS_CHECK(std::isfinite(static_cast<float>(half)), Numeric, "the value ", value,
               " is beyond the range of a half; write this tensor as F32 or BF16");
  return half.x;
}

/// Its bytes, the lower first.
inline void store_half(float value, uint8_t* to) {
  const uint16_t bits = half_bits(value);
  to[0] = static_cast<uint8_t>(bits & 0xff);
  to[1] = static_cast<uint8_t>(bits >> 8);
}

/// `value` after rounding to a half.
inline float through_half(float value) {
  return static_cast<float>(c10::Half(half_bits(value), c10::Half::from_bits()));
}

}  // namespace prunus
