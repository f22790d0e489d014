#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace prunus {

/// One element type of GGUF. `elements` consecutive values of a row are stored together in `bytes`
/// bytes; a row is a whole number of such blocks. Layouts: docs/formats/gguf.md.
struct GgufBlockType {
  uint32_t id;            ///< as in the file
  std::string_view name;  ///< as ggml calls it, e.g. "Q4_K"
  int64_t elements;       ///< of one block; 1 where values stand alone
  int64_t bytes;          ///< of one block

  /// Writes the values of `blocks` consecutive blocks in FP32; null for a type that is known but
  /// that Prunus does not read.
  void (*dequantize)(const std::byte* from, int64_t blocks, float* to);
};

/// Every type that files may hold, ascending by number. Numbers 9 and 15 (Q8_1, Q8_K) are absent:
/// ggml uses them for intermediate results only.
/// Source: ggml, ggml.h, enum ggml_type; the sizes: ggml-common.h.
std::span<const GgufBlockType> gguf_block_types();

/// The type with that number, or nullptr.
const GgufBlockType* find_gguf_block_type(uint32_t id);
/// The type of that name, in any case of letters, or nullptr.
const GgufBlockType* find_gguf_block_type(std::string_view name);

/// The names of the types with a dequantisation, for messages.
std::string readable_gguf_types();

/// Writes `rows` rows of `columns` values in FP32, on libtorch's threads. Every product and sum is
/// rounded to FP32 on its own, so the values are those of the `gguf` package and of ggml's
/// reference code, bit for bit (of a NaN, only that it is one). Shapes: from, rows · columns /
/// type.elements blocks; to, rows · columns floats. `columns` is a multiple of type.elements, and
/// type.dequantize is not null.
void dequantize_gguf_rows(const GgufBlockType& type, const std::byte* from, int64_t rows,
                          int64_t columns, float* to);

}  // namespace prunus
