#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prunus {

/// Types of metadata values; the numbers are the file's.
enum class GgufValueType : uint32_t {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  Bool,
  String,
  Array,
  U64,
  I64,
  F64
};

/// As in the format's description, e.g. "uint32". Of an unknown number: "unknown".
std::string_view gguf_value_type_name(GgufValueType type);

/// Bytes of one value; 0 for String and Array, whose values differ in size.
uint64_t gguf_value_bytes(GgufValueType type);

/// One metadata value of a GGUF file: a scalar or an array of scalars. It looks at the file's
/// bytes, which were checked when the file was opened, and lives as long as they do.
class GgufValue {
 public:
  /// `bytes`: the values, strings with their lengths; `place`: file and key, for messages.
  GgufValue(GgufValueType type, bool array, uint64_t count, std::span<const std::byte> bytes,
            std::string place)
      : type_(type), array_(array), count_(count), bytes_(bytes), place_(std::move(place)) {}

  /// Of the value, or of each value of an array; never Array.
  GgufValueType type() const { return type_; }
  bool is_array() const { return array_; }
  /// Values of an array; 1 for a scalar.
  uint64_t count() const { return count_; }
  /// The values as they stand in the file, strings with their lengths.
  std::span<const std::byte> bytes() const { return bytes_; }

  /// A scalar of an integer type. Throws Corrupt where it is something else, Unsupported where it
  /// is 2^63 or more.
  int64_t integer() const;
  /// A scalar of a float or an integer type. Throws Corrupt where it is something else.
  double number() const;
  /// Throws Corrupt where it is no boolean.
  bool boolean() const;
  /// Throws Corrupt where it is no string. Not necessarily UTF-8.
  std::string_view text() const;

  /// The same of an array: one entry for each value.
  std::vector<int64_t> integers() const;
  std::vector<double> numbers() const;
  std::vector<bool> booleans() const;
  std::vector<std::string_view> texts() const;

 private:
  void expect(bool good, bool array, std::string_view expected) const;
  int64_t integer_at(uint64_t index) const;
  double number_at(uint64_t index) const;

  GgufValueType type_;
  bool array_;
  uint64_t count_;
  std::span<const std::byte> bytes_;
  std::string place_;
};

}  // namespace prunus
