#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/io/gguf_blocks.h"
#include "prunus/io/gguf_value.h"

namespace prunus {

inline constexpr uint32_t kGgufVersion = 3;
inline constexpr uint32_t kMaxGgufRank = 4;
inline constexpr uint64_t kMaxGgufKeyBytes = (1 << 16) - 1;

/// Where one tensor lies in a GGUF file, and how to read it.
struct GgufTensor {
  std::string name;
  const GgufBlockType* type = nullptr;
  std::vector<int64_t> shape;  ///< row-major, the file's sizes reversed; empty for a scalar
  uint64_t begin = 0;          ///< absolute byte offset in the file
  uint64_t end = 0;            ///< one past the last byte, absolute

  uint64_t bytes() const { return end - begin; }
  /// The last size, a multiple of type->elements; 1 for a scalar.
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  /// Product of the sizes before the last.
  int64_t rows() const;
};

/// What precedes the tensors' bytes.
struct GgufHeader {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<std::string_view> keys;  ///< of `metadata`, as they stand in the file
  std::vector<GgufTensor> tensors;     ///< as listed in the file
};

/// Reads and checks the header of a GGUF file, version 3, little-endian, and that every tensor lies
/// in the file and none on another. `file` is the whole file, which must outlive the values;
/// `where` names it in messages. Layout and limits: docs/formats/gguf.md. Cost: one pass over the
/// header; nothing is allocated in proportion to a size that the file only claims. Throws Corrupt;
/// Unsupported for another version or byte order, arrays of arrays, and element types without a
/// known size. Source: ggml, docs/gguf.md and gguf.cpp. Differs: tensors may come in any order and
/// with gaps; the padding after the last tensor may be absent.
GgufHeader parse_gguf_header(std::span<const std::byte> file, const std::string& where);

}  // namespace prunus
