#include "prunus/io/gguf_value.h"

#include <array>
#include <bit>
#include <limits>

#include "prunus/base/error.h"
#include "prunus/io/little_endian.h"

namespace prunus {
namespace {

struct Row {
  std::string_view name;
  uint64_t bytes;
};

constexpr std::array<Row, 13> kTypes{{{"uint8", 1},
                                      {"int8", 1},
                                      {"uint16", 2},
                                      {"int16", 2},
                                      {"uint32", 4},
                                      {"int32", 4},
                                      {"float32", 4},
                                      {"bool", 1},
                                      {"string", 0},
                                      {"array", 0},
                                      {"uint64", 8},
                                      {"int64", 8},
                                      {"float64", 8}}};

bool is_integer(GgufValueType type) {
  switch (type) {
    case GgufValueType::F32:
    case GgufValueType::F64:
    case GgufValueType::Bool:
    case GgufValueType::String:
    case GgufValueType::Array:
      return false;
    default:
      return true;
  }
}

bool is_number(GgufValueType type) {
  return is_integer(type) || type == GgufValueType::F32 || type == GgufValueType::F64;
}

}  // namespace

std::string_view gguf_value_type_name(GgufValueType type) {
  const auto index = static_cast<size_t>(type);
  return index < kTypes.size() ? kTypes[index].name : "unknown";
}

uint64_t gguf_value_bytes(GgufValueType type) { return kTypes.at(static_cast<size_t>(type)).bytes; }

void GgufValue::expect(bool good, bool array, std::string_view expected) const {
  PRUNUS_CHECK(good && array == array_, Corrupt, place_, ": got ", array_ ? "an array of " : "",
               gguf_value_type_name(type_), ", expected ", array ? "an array of " : "", expected);
}

int64_t GgufValue::integer_at(uint64_t index) const {
  const std::byte* at = bytes_.data() + index * gguf_value_bytes(type_);
  switch (type_) {
    case GgufValueType::U8:
      return load_little<uint8_t>(at);
    case GgufValueType::I8:
      return static_cast<int8_t>(load_little<uint8_t>(at));
    case GgufValueType::U16:
      return load_little<uint16_t>(at);
    case GgufValueType::I16:
      return static_cast<int16_t>(load_little<uint16_t>(at));
    case GgufValueType::U32:
      return load_little<uint32_t>(at);
    case GgufValueType::I32:
      return static_cast<int32_t>(load_little<uint32_t>(at));
    case GgufValueType::U64: {
      const auto value = load_little<uint64_t>(at);
      PRUNUS_CHECK(value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()), Unsupported,
                   place_, ": got ", value, ", expected less than 2^63");
      return static_cast<int64_t>(value);
    }
    default:
      return static_cast<int64_t>(load_little<uint64_t>(at));
  }
}

double GgufValue::number_at(uint64_t index) const {
  const std::byte* at = bytes_.data() + index * gguf_value_bytes(type_);
  if (type_ == GgufValueType::F32) return std::bit_cast<float>(load_little<uint32_t>(at));
  if (type_ == GgufValueType::F64) return std::bit_cast<double>(load_little<uint64_t>(at));
  if (type_ == GgufValueType::U64) return static_cast<double>(load_little<uint64_t>(at));
  return static_cast<double>(integer_at(index));
}

int64_t GgufValue::integer() const {
  expect(is_integer(type_), false, "an integer");
  return integer_at(0);
}

double GgufValue::number() const {
  expect(is_number(type_), false, "a number");
  return number_at(0);
}

bool GgufValue::boolean() const {
  expect(type_ == GgufValueType::Bool, false, "bool");
  return bytes_[0] != std::byte{0};
}

std::string_view GgufValue::text() const {
  expect(type_ == GgufValueType::String, false, "string");
  return {reinterpret_cast<const char*>(bytes_.data()) + 8, bytes_.size() - 8};
}

std::vector<int64_t> GgufValue::integers() const {
  expect(is_integer(type_), true, "integers");
  std::vector<int64_t> values(count_);
  for (uint64_t i = 0; i < count_; ++i) values[i] = integer_at(i);
  return values;
}

std::vector<double> GgufValue::numbers() const {
  expect(is_number(type_), true, "numbers");
  std::vector<double> values(count_);
  for (uint64_t i = 0; i < count_; ++i) values[i] = number_at(i);
  return values;
}

std::vector<bool> GgufValue::booleans() const {
  expect(type_ == GgufValueType::Bool, true, "bool");
  std::vector<bool> values(count_);
  for (uint64_t i = 0; i < count_; ++i) values[i] = bytes_[i] != std::byte{0};
  return values;
}

std::vector<std::string_view> GgufValue::texts() const {
  expect(type_ == GgufValueType::String, true, "string");
  std::vector<std::string_view> values;
  values.reserve(count_);
  const std::byte* at = bytes_.data();
  for (uint64_t i = 0; i < count_; ++i) {
    const auto length = load_little<uint64_t>(at);
    values.emplace_back(reinterpret_cast<const char*>(at) + 8, length);
    at += 8 + length;
  }
  return values;
}

}  // namespace prunus
