#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/io/gguf_value.h"

namespace prunus {

/// One metadata entry of a GGUF file to be written: key, type, and the value's bytes as they stand
/// in the file. What GgufValue reads, owned.
class GgufEntry {
 public:
  static GgufEntry boolean(std::string key, bool value);
  static GgufEntry uint32(std::string key, uint32_t value);
  static GgufEntry uint64(std::string key, uint64_t value);
  static GgufEntry float32(std::string key, float value);
  static GgufEntry text(std::string key, std::string_view value);
  static GgufEntry booleans(std::string key, const std::vector<bool>& values);
  static GgufEntry uint8s(std::string key, std::string_view bytes);
  static GgufEntry int32s(std::string key, const std::vector<int32_t>& values);
  static GgufEntry uint32s(std::string key, const std::vector<uint32_t>& values);
  static GgufEntry float32s(std::string key, const std::vector<float>& values);
  static GgufEntry texts(std::string key, const std::vector<std::string>& values);
  /// A copy of a value read from a file, byte for byte.
  static GgufEntry copy(std::string key, const GgufValue& value);

  const std::string& key() const { return key_; }
  /// Of the value, or of each value of an array; never Array.
  GgufValueType type() const { return type_; }
  bool is_array() const { return array_; }
  /// Values of an array; 1 for a scalar.
  uint64_t count() const { return count_; }
  /// The values one after the other, little-endian, strings with their lengths (8 bytes each). For
  /// an array that is what follows the type and the number of its values.
  const std::string& bytes() const { return bytes_; }

  /// The same as a reader sees it; looks at this object's bytes.
  GgufValue value() const;

 private:
  GgufEntry(std::string key, GgufValueType type, bool array, uint64_t count, std::string bytes);

  std::string key_;
  GgufValueType type_;
  bool array_;
  uint64_t count_;
  std::string bytes_;
};

}  // namespace prunus
