// Compiled with -ffp-contract=off (CMakeLists.txt): a fused multiply-add would change last bits.
#include "prunus/io/gguf_quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
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

// d = extreme / −2^(bits−1); codes are 0 to 2^bits − 1.
template <int bits>
void symmetric(const float* from, Byte* to) {
  constexpr int kHalf = 1 << (bits - 1);
  const float d = extreme(from) / -kHalf;
  const float inverse = inverse_of(d);
  int codes[kValues];
  for (int i = 0; i < kValues; ++i) {
    codes[i] = std::min(2 * kHalf - 1, static_cast<int>(from[i] * inverse + (kHalf + 0.5F)));
  }
  store_half(d, to);
  if (bits == 5) store_fifth_bits(codes, to + 2);
  store_low_bits(codes, to + (bits == 5 ? 6 : 2));
}

// Codes from the least value to the largest.
template <int bits>
void affine(const float* from, Byte* to) {
  constexpr int kMost = (1 << bits) - 1;
  const auto [least, most] = std::minmax_element(from, from + kValues);
  const float d = (*most - *least) / kMost;
  const float inverse = inverse_of(d);
  int codes[kValues];
  for (int i = 0; i < kValues; ++i) {
    codes[i] = std::min(kMost, static_cast<int>((from[i] - *least) * inverse + 0.5F));
  }
  store_half(d, to);
  store_half(*least, to + 2);
  if (bits == 5) store_fifth_bits(codes, to + 4);
  store_low_bits(codes, to + (bits == 5 ? 8 : 4));
}

using PlainBlock = void (*)(const float*, Byte*);
using WeightedBlock = void (*)(const float*, const float*, Byte*);

struct Row {
  std::string_view name;
  PlainBlock plain;
  WeightedBlock weighted;
  std::string_view fallback;  // where rows are no whole blocks
};

constexpr Row kRows[] = {
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
    {"Q4_K", nullptr, gguf_k::quantize_q4_k, "Q5_0"},
    {"Q5_K", nullptr, gguf_k::quantize_q5_k, "Q5_1"},
    {"Q6_K", nullptr, gguf_k::quantize_q6_k, "Q8_0"},
};

const Row* find_row(const GgufBlockType& type) {
  const auto* found = std::find_if(std::begin(kRows), std::end(kRows),
                                   [&](const Row& row) { return row.name == type.name; });
  return found == std::end(kRows) ? nullptr : found;
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
  for (const Row& row : kRows) {
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
  const int64_t values_per_thread = row->weighted != nullptr ? 1 << 12 : 1 << 15;
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
