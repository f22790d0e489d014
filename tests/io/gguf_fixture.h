#pragma once
// GGUF files put together by hand, field by field.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/io/gguf_entry.h"

namespace prunus::testing_io {

inline std::string little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}
inline std::string u32(uint64_t value) { return little(value, 4); }
inline std::string u64(uint64_t value) { return little(value, 8); }
inline std::string text(std::string_view value) { return u64(value.size()) + std::string(value); }

/// A metadata entry: key, number of the type, value as in the file.
inline std::string entry(std::string_view key, uint32_t type, const std::string& value) {
  return text(key) + u32(type) + value;
}

/// The same of an entry made for writing.
inline std::string encoded(const GgufEntry& one) {
  std::string bytes = text(one.key());
  if (one.is_array()) bytes += u32(9);
  bytes += u32(static_cast<uint32_t>(one.type()));
  if (one.is_array()) bytes += u64(one.count());
  return bytes + one.bytes();
}

/// A tensor's entry; sizes as in the file, the fastest first.
inline std::string info(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                        uint64_t offset) {
  std::string bytes = text(name) + u32(sizes.size());
  for (const uint64_t size : sizes) bytes += u64(size);
  return bytes + u32(type) + u64(offset);
}

struct GgufParts {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count = {};
  std::optional<uint64_t> metadata_count = {};
  std::vector<std::string> metadata = {};
  std::vector<std::string> tensors = {};
  std::string data = {};
  size_t alignment = 32;

  std::string bytes() const {
    std::string file = magic + u32(version) + u64(tensor_count.value_or(tensors.size())) +
                       u64(metadata_count.value_or(metadata.size()));
    for (const auto& part : metadata) file += part;
    for (const auto& part : tensors) file += part;
    if (!data.empty()) file.append((alignment - file.size() % alignment) % alignment, '\0');
    return file + data;
  }
};

}  // namespace prunus::testing_io
