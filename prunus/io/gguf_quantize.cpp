// Compiled with -ffp-contract=off (CMakeLists.txt): a fused multiply-add would change last bits.
#include "prunus/io/gguf_quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/Parallel.h>

#include "prunus/base/error.h"
#include "prunus/io/gguf_half.h"
#include "prunus/io/gguf_quantize_k.h"

namespace prunus {
namespace {

using Byte = uint8_t;

void store16(uint32_t bits, Byte* to) {
  to[0] = static_cast<Byte>(bits & 0xff);
  to[1] = static_cast<Byte>(bits >> 8 & 0xff);
}

// One block each, as in gguf_blocks.cpp.
void f32(const float* from, Byte* to) {
  const auto bits = std::bit_cast<uint32_t>(*from);
  store16(bits & 0xffff, to);
  store16(bits >> 16, to + 2);
}

void f16(const float* from, Byte* to) { store_half(*from, to); }

void bf16(const float* from, Byte* to) {
  const auto bits = std::bit_cast<uint32_t>(*from);
  store16((bits + 0x7fff + (bits >> 16 & 1)) >> 16, to);
}

constexpr int kValues = 32;

// 1/d, and 0 where that is no number: such a d is 0 as a half.
float inverse_of(float d) {
  const float inverse = d == 0 ? 0.0F : 1.0F / d;
  return std::isfinite(inverse) ? inverse : 0.0F;
}

// The value furthest from 0, with its sign; the first of equal ones.
float extreme(const float* from) {
  float found = 0;
  for (int i = 0; i < kValues; ++i) {
    if (std::fabs(from[i]) > std::fabs(found)) found = from[i];
  }
  return found;
}

void q8_0(const float* from, Byte* to) {
  const float d = std::fabs(extreme(from)) / 127.0F;
  const float inverse = inverse_of(d);
  store_half(d, to);
  for (int i = 0; i < kValues; ++i) {
    to[2 + i] = static_cast<Byte>(static_cast<int8_t>(std::round(from[i] * inverse)));
  }
}

// Value 16 + i above value i.
void store_low_bits(const int* codes, Byte* to) {
  for (int i = 0; i < 16; ++i) {
    to[i] = static_cast<Byte>((codes[i] & 15) | (codes[16 + i] & 15) << 4);
  }
}

// A word whose bit i is the fifth bit of code i.
void store_fifth_bits(const int* codes, Byte* to) {
  uint32_t word = 0;
  for (int i = 0; i < kValues; ++i) word |= static_cast<uint32_t>(codes[i] >> 4 & 1) << i;
  store16(word & 0xffff, to);
  store16(word >> 16, to + 2);
}

// The codes of 32 values and what a block stores of their scale: x ≈ d·(code − zero) + m.
struct Codes {
  float d = 0;
  float m = 0;
  int code[kValues] = {};
  float error = std::numeric_limits<float>::infinity();  // squared
};

// Scales that are tried on either side of the plain one, in tenths of a code.
constexpr int kStarts = 10;

// The best codes for d and m as they are stored. Symmetric types have a `zero` and no m.
template <int most, int zero>
Codes codes_for(const float* x, float d, float m) {
  Codes found{.d = through_half(d), .m = through_half(m)};
  const float inverse = inverse_of(found.d);
  found.error = 0;
  for (int i = 0; i < kValues; ++i) {
    const float at = (x[i] - found.m) * inverse + (zero + 0.5F);
    const int code = static_cast<int>(std::min(std::max(at, 0.0F), static_cast<float>(most)));
    const float difference = found.d * static_cast<float>(code - zero) + found.m - x[i];
    found.code[i] = code;
    found.error += difference * difference;
  }
  return found;
}

// d, and m where there is one, by least squares for the codes.
template <int most, int zero>
Codes refitted(const float* x, const Codes& from) {
  double q = 0, qq = 0, xq = 0, sum = 0;
  for (int i = 0; i < kValues; ++i) {
    const double code = from.code[i] - zero;
    q += code;
    qq += code * code;
    xq += code * x[i];
    sum += x[i];
  }
  if (zero != 0) return qq > 0 ? codes_for<most, zero>(x, static_cast<float>(xq / qq), 0) : from;
  const double determinant = kValues * qq - q * q;
  if (determinant <= 0) return from;
  const double d = (kValues * xq - q * sum) / determinant;
  return codes_for<most, zero>(x, static_cast<float>(d),
                               static_cast<float>((sum - d * q) / kValues));
}

void keep_better(Codes& best, const Codes& other) {
  if (other.error < best.error) best = other;
}

// Codes are 0 to 2^bits − 1, of which the middle stands for 0: ggml's plain choice is
// d = extreme / −2^(bits−1).
template <int bits>
void symmetric(const float* from, Byte* to) {
  constexpr int kHalf = 1 << (bits - 1);
  constexpr int kMost = 2 * kHalf - 1;
  const float furthest = extreme(from);
  Codes best;
  for (int i = -kStarts; i <= kStarts; ++i) {
    const float d = furthest / (-kHalf + 0.1F * static_cast<float>(i));
    const Codes plain = codes_for<kMost, kHalf>(from, d, 0);
    keep_better(best, plain);
    keep_better(best, refitted<kMost, kHalf>(from, plain));
  }
  store_half(best.d, to);
  if (bits == 5) store_fifth_bits(best.code, to + 2);
  store_low_bits(best.code, to + (bits == 5 ? 6 : 2));
}

// Codes from the least value on: ggml's plain choice is d = (largest − least) / (2^bits − 1). Among
// the scales that are tried are those of values that had four bits before, which five can keep.
template <int bits>
void affine(const float* from, Byte* to) {
  constexpr int kMost = (1 << bits) - 1;
  const auto [least, most] = std::minmax_element(from, from + kValues);
  Codes best;
  for (int i = -kStarts; i <= kStarts; ++i) {
    const float d = (*most - *least) / (kMost + 0.1F * static_cast<float>(i));
    const Codes plain = codes_for<kMost, 0>(from, d, *least);
    keep_better(best, plain);
    keep_better(best, refitted<kMost, 0>(from, plain));
  }
  store_half(best.d, to);
  store_half(best.m, to + 2);
  if (bits == 5) store_fifth_bits(best.code, to + 4);
  store_low_bits(best.code, to + (bits == 5 ? 8 : 4));
}

using PlainBlock = void (*)(const float*, Byte*);
using WeightedBlock = void (*)(const float*, const float*, Byte*);

struct Row {
  std::string_view name;
  PlainBlock plain;
  WeightedBlock weighted;
  std::string_view fallback;  // where rows are no whole blocks
};

constexpr Row kWriters[] = {
    {"F32", f32, nullptr, {}},
    {"F16", f16, nullptr, {}},
    {"BF16", bf16, nullptr, {}},
    {"Q4_0", symmetric<4>, nullptr, "F16"},
    {"Q4_1", affine<4>, nullptr, "F16"},
    {"Q5_0", symmetric<5>, nullptr, "F16"},
    {"Q5_1", affine<5>, nullptr, "F16"},
    {"Q8_0", q8_0, nullptr, "F16"},
    {"Q2_K", nullptr, gguf_k::quantize_q2_k, "Q4_0"},
    {"Q3_K", nullptr, gguf_k::quantize_q3_k, "Q4_0"},
    {"Q4_K", nullptr, gguf_k::quantize_q4_k, "Q5_1"},
    {"Q5_K", nullptr, gguf_k::quantize_q5_k, "Q5_1"},
    {"Q6_K", nullptr, gguf_k::quantize_q6_k, "Q8_0"},
};

const Row* find_row(const GgufBlockType& type) {
  const auto* found = std::find_if(std::begin(kWriters), std::end(kWriters),
                                   [&](const Row& row) { return row.name == type.name; });
  return found == std::end(kWriters) ? nullptr : found;
}

void one_row(const Row& row, const GgufBlockType& type, const float* from, int64_t columns,
             const float* weights, Byte* to) {
  for (int64_t at = 0; at < columns; at += type.elements, to += type.bytes) {
    if (row.plain != nullptr) {
      row.plain(from + at, to);
    } else {
      row.weighted(from + at, weights + at, to);
    }
  }
}

}  // namespace

bool is_writable(const GgufBlockType& type) { return find_row(type) != nullptr; }

std::string writable_gguf_types() {
  std::string names;
  for (const Row& row : kWriters) {
    if (!names.empty()) names += ' ';
    names += row.name;
  }
  return names;
}

void quantize_gguf_rows(const GgufBlockType& type, const float* from, int64_t rows, int64_t columns,
                        std::byte* to, const float* importance) {
  const Row* row = find_row(type);
  PRUNUS_CHECK(row != nullptr, Unsupported, "Prunus does not write the type ", type.name,
               "; it writes ", writable_gguf_types());
  TORCH_INTERNAL_ASSERT(columns % type.elements == 0);
  std::vector<float> equal;
  if (row->weighted != nullptr && importance == nullptr) {
    equal.assign(static_cast<size_t>(columns), 1.0F);
    importance = equal.data();
  }
  const int64_t values_per_thread = row->weighted != nullptr ? 1 << 12 : 1 << 14;
  const int64_t grain = std::max<int64_t>(1, values_per_thread / std::max<int64_t>(1, columns));
  const int64_t row_bytes = columns / type.elements * type.bytes;
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      one_row(*row, type, from + i * columns, columns, importance,
              reinterpret_cast<Byte*>(to) + i * row_bytes);
    }
  });
}

const GgufBlockType& fitting_type(const GgufBlockType& wanted, int64_t columns) {
  const GgufBlockType* type = &wanted;
  while (columns % type->elements != 0) {
    const Row* row = find_row(*type);
    type = find_gguf_block_type(row != nullptr ? row->fallback : std::string_view("F16"));
  }
  return *type;
}

}  // namespace prunus
