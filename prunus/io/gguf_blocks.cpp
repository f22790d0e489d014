// Compiled with -ffp-contract=off (CMakeLists.txt): a fused multiply-add would change last bits.
#include "prunus/io/gguf_blocks.h"

#include <algorithm>
#include <bit>
#include <cctype>

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>

namespace prunus {
namespace {

using Byte = uint8_t;

uint32_t load16(const Byte* from) { return from[0] | uint32_t{from[1]} << 8; }
uint32_t load32(const Byte* from) { return load16(from) | load16(from + 2) << 16; }

float half(const Byte* from) {
  return c10::Half(static_cast<uint16_t>(load16(from)), c10::Half::from_bits());
}

// One block each: f32, f16 and bf16 are blocks of one value.
void f32(const Byte* block, float* to) { *to = std::bit_cast<float>(load32(block)); }
void f16(const Byte* block, float* to) { *to = half(block); }
void bf16(const Byte* block, float* to) { *to = std::bit_cast<float>(load16(block) << 16); }

// d; 32 signed bytes.
void q8_0(const Byte* block, float* to) {
  const float d = half(block);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// d, and m where there is a minimum; then 16 bytes, whose low halves are values 0 to 15 and whose
// high halves are values 16 to 31.
void q4_0(const Byte* block, float* to) {
  const float d = half(block);
  for (int i = 0; i < 16; ++i) {
    const int pair = block[2 + i];
    to[i] = d * static_cast<float>((pair & 15) - 8);
    to[16 + i] = d * static_cast<float>((pair >> 4) - 8);
  }
}

void q4_1(const Byte* block, float* to) {
  const float d = half(block);
  const float m = half(block + 2);
  for (int i = 0; i < 16; ++i) {
    const int pair = block[4 + i];
    to[i] = d * static_cast<float>(pair & 15) + m;
    to[16 + i] = d * static_cast<float>(pair >> 4) + m;
  }
}

// As with four bits, and before the halves a word whose bit i is the fifth bit of value i.
void q5_0(const Byte* block, float* to) {
  const float d = half(block);
  const uint32_t fifth = load32(block + 2);
  for (int i = 0; i < 16; ++i) {
    const int pair = block[6 + i];
    const int low = (pair & 15) | static_cast<int>(fifth >> i & 1) << 4;
    const int high = pair >> 4 | static_cast<int>(fifth >> (16 + i) & 1) << 4;
    to[i] = d * static_cast<float>(low - 16);
    to[16 + i] = d * static_cast<float>(high - 16);
  }
}

void q5_1(const Byte* block, float* to) {
  const float d = half(block);
  const float m = half(block + 2);
  const uint32_t fifth = load32(block + 4);
  for (int i = 0; i < 16; ++i) {
    const int pair = block[8 + i];
    const int low = (pair & 15) | static_cast<int>(fifth >> i & 1) << 4;
    const int high = pair >> 4 | static_cast<int>(fifth >> (16 + i) & 1) << 4;
    to[i] = d * static_cast<float>(low) + m;
    to[16 + i] = d * static_cast<float>(high) + m;
  }
}

// The K types: 256 values in groups of 16 or 32, each with an integer scale (and minimum) that the
// block's d (and dmin) multiply.

// 16 bytes: scale (low half) and minimum of each group of 16; 64 bytes of two-bit values; d, dmin.
void q2_k(const Byte* block, float* to) {
  const Byte* values = block + 16;
  const float d = half(block + 80);
  const float dmin = half(block + 82);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block[group] & 15);
    const float minimum = dmin * static_cast<float>(block[group] >> 4);
    // 32 bytes hold 128 values: four groups of 32 at two bits each.
    const Byte* from = values + group / 8 * 32 + group % 2 * 16;
    const int shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      to[16 * group + i] = scale * static_cast<float>(from[i] >> shift & 3) - minimum;
    }
  }
}

// Scale of one of 16 groups: four low bits in the halves of bytes 0 to 7, two high bits in bytes 8
// to 11, stored plus 32.
int q3_k_scale(const Byte* scales, int group) {
  const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
  const int high = scales[8 + group % 4] >> group / 4 * 2 & 3;
  return (low | high << 4) - 32;
}

// 32 bytes of third bits (0: subtract four); 64 bytes of two-bit values; 12 of scales; d.
void q3_k(const Byte* block, float* to) {
  const Byte* values = block + 32;
  const float d = half(block + 108);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(q3_k_scale(block + 96, group));
    const Byte* from = values + group / 8 * 32 + group % 2 * 16;
    const Byte* third = block + group % 2 * 16;
    const int shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int value = (from[i] >> shift & 3) - ((third[i] >> group / 2 & 1) != 0 ? 0 : 4);
      to[16 * group + i] = scale * static_cast<float>(value);
    }
  }
}

struct ScaleAndMinimum {
  float scale;
  float minimum;
};

// Of one of 8 groups, from 12 bytes. Groups 0 to 3: six low bits of byte g and of byte g + 4.
// Groups 4 to 7: four bits each from byte g + 4, on top of them the two high bits of bytes g - 4
// and g.
ScaleAndMinimum six_bit(const Byte* packed, int group) {
  if (group < 4) {
    return {static_cast<float>(packed[group] & 63), static_cast<float>(packed[group + 4] & 63)};
  }
  const int scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
  const int minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

// d, dmin; 12 bytes of scales and minima; 128 bytes: 32 bytes hold a group in their low halves and
// the next one in their high halves.
void q4_k(const Byte* block, float* to) {
  const float d = half(block);
  const float dmin = half(block + 2);
  for (int group = 0; group < 8; ++group) {
    const auto packed = six_bit(block + 4, group);
    const float scale = d * packed.scale;
    const float minimum = dmin * packed.minimum;
    const Byte* from = block + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      to[32 * group + i] = scale * static_cast<float>(from[i] >> shift & 15) - minimum;
    }
  }
}

// As q4_k, with 32 bytes before the halves: bit g of byte i is the fifth bit of value i of group g.
void q5_k(const Byte* block, float* to) {
  const float d = half(block);
  const float dmin = half(block + 2);
  const Byte* fifth = block + 16;
  for (int group = 0; group < 8; ++group) {
    const auto packed = six_bit(block + 4, group);
    const float scale = d * packed.scale;
    const float minimum = dmin * packed.minimum;
    const Byte* from = block + 48 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int value = (from[i] >> shift & 15) | (fifth[i] >> group & 1) << 4;
      to[32 * group + i] = scale * static_cast<float>(value) - minimum;
    }
  }
}

// 128 bytes of low four bits, 64 of high two bits, 16 signed scales, d. A half of 128 values has 64
// bytes of low bits (values 0 to 63, then 64 to 127) and 32 of high bits, four groups of 32.
void q6_k(const Byte* block, float* to) {
  const Byte* scales = block + 192;
  const float d = half(block + 208);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[group]));
    const int in_half = group % 8;
    const Byte* low = block + group / 8 * 64 + in_half % 4 * 16;
    const Byte* high = block + 128 + group / 8 * 32 + in_half % 2 * 16;
    const int low_shift = in_half / 4 * 4;
    const int high_shift = in_half / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      const int value = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
      to[16 * group + i] = scale * static_cast<float>(value - 32);
    }
  }
}

template <void (*block)(const Byte*, float*), int64_t elements, int64_t bytes>
void each_block(const std::byte* from, int64_t blocks, float* to) {
  const auto* at = reinterpret_cast<const Byte*>(from);
  for (int64_t i = 0; i < blocks; ++i) block(at + i * bytes, to + i * elements);
}

template <void (*block)(const Byte*, float*), int64_t elements, int64_t bytes>
constexpr GgufBlockType readable(uint32_t id, std::string_view name) {
  return {id, name, elements, bytes, each_block<block, elements, bytes>};
}

constexpr GgufBlockType kTypes[] = {
    readable<f32, 1, 4>(0, "F32"),
    readable<f16, 1, 2>(1, "F16"),
    readable<q4_0, 32, 18>(2, "Q4_0"),
    readable<q4_1, 32, 20>(3, "Q4_1"),
    readable<q5_0, 32, 22>(6, "Q5_0"),
    readable<q5_1, 32, 24>(7, "Q5_1"),
    readable<q8_0, 32, 34>(8, "Q8_0"),
    readable<q2_k, 256, 84>(10, "Q2_K"),
    readable<q3_k, 256, 110>(11, "Q3_K"),
    readable<q4_k, 256, 144>(12, "Q4_K"),
    readable<q5_k, 256, 176>(13, "Q5_K"),
    readable<q6_k, 256, 210>(14, "Q6_K"),
    {16, "IQ2_XXS", 256, 66, nullptr},
    {17, "IQ2_XS", 256, 74, nullptr},
    {18, "IQ3_XXS", 256, 98, nullptr},
    {19, "IQ1_S", 256, 50, nullptr},
    {20, "IQ4_NL", 32, 18, nullptr},
    {21, "IQ3_S", 256, 110, nullptr},
    {22, "IQ2_S", 256, 82, nullptr},
    {23, "IQ4_XS", 256, 136, nullptr},
    {24, "I8", 1, 1, nullptr},
    {25, "I16", 1, 2, nullptr},
    {26, "I32", 1, 4, nullptr},
    {27, "I64", 1, 8, nullptr},
    {28, "F64", 1, 8, nullptr},
    {29, "IQ1_M", 256, 56, nullptr},
    readable<bf16, 1, 2>(30, "BF16"),
    {34, "TQ1_0", 256, 54, nullptr},
    {35, "TQ2_0", 256, 66, nullptr},
    {39, "MXFP4", 32, 17, nullptr},
    {40, "NVFP4", 64, 36, nullptr},
    {41, "Q1_0", 128, 18, nullptr},
};

}  // namespace

std::span<const GgufBlockType> gguf_block_types() { return kTypes; }

const GgufBlockType* find_gguf_block_type(uint32_t id) {
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return t.id == id; });
  return found == std::end(kTypes) ? nullptr : found;
}

const GgufBlockType* find_gguf_block_type(std::string_view name) {
  const auto same = [](char a, char b) { return std::toupper(a) == std::toupper(b); };
  for (const GgufBlockType& type : kTypes) {
    if (std::equal(type.name.begin(), type.name.end(), name.begin(), name.end(), same)) {
      return &type;
    }
  }
  return nullptr;
}

std::string readable_gguf_types() {
  std::string names;
  for (const auto& type : kTypes) {
    if (type.dequantize == nullptr) continue;
    if (!names.empty()) names += ' ';
    names += type.name;
  }
  return names;
}

void dequantize_gguf_rows(const GgufBlockType& type, const std::byte* from, int64_t rows,
                          int64_t columns, float* to) {
  TORCH_INTERNAL_ASSERT(type.dequantize != nullptr && columns % type.elements == 0);
  constexpr int64_t kValuesPerThread = 1 << 15;
  const int64_t grain = std::max<int64_t>(1, kValuesPerThread / std::max<int64_t>(1, columns));
  const int64_t row_blocks = columns / type.elements;
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    type.dequantize(from + begin * row_blocks * type.bytes, (end - begin) * row_blocks,
                    to + begin * columns);
  });
}

}  // namespace prunus
