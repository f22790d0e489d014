#include "prunus/io/gguf_entry.h"

#include <bit>
#include <cstddef>
#include <span>
#include <utility>

namespace prunus {
namespace {

template <typename T>
void append(std::string& bytes, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xFF);
}

void append(std::string& bytes, float value) { append(bytes, std::bit_cast<uint32_t>(value)); }

void append(std::string& bytes, std::string_view value) {
  append(bytes, uint64_t{value.size()});
  bytes += value;
}

template <typename As, typename Values>
std::string bytes_of(const Values& values) {
  std::string bytes;
  for (const auto& value : values) append(bytes, static_cast<As>(value));
  return bytes;
}

}  // namespace

GgufEntry::GgufEntry(std::string key, GgufValueType type, bool array, uint64_t count,
                     std::string bytes)
    : key_(std::move(key)), type_(type), array_(array), count_(count), bytes_(std::move(bytes)) {}

GgufEntry GgufEntry::boolean(std::string key, bool value) {
  return {std::move(key), GgufValueType::Bool, false, 1, std::string(1, value ? '\1' : '\0')};
}

GgufEntry GgufEntry::uint32(std::string key, uint32_t value) {
  return {std::move(key), GgufValueType::U32, false, 1, bytes_of<uint32_t>(std::vector{value})};
}

GgufEntry GgufEntry::uint64(std::string key, uint64_t value) {
  return {std::move(key), GgufValueType::U64, false, 1, bytes_of<uint64_t>(std::vector{value})};
}

GgufEntry GgufEntry::float32(std::string key, float value) {
  return {std::move(key), GgufValueType::F32, false, 1, bytes_of<float>(std::vector{value})};
}

GgufEntry GgufEntry::text(std::string key, std::string_view value) {
  return {std::move(key), GgufValueType::String, false, 1,
          bytes_of<std::string_view>(std::vector{value})};
}

GgufEntry GgufEntry::booleans(std::string key, const std::vector<bool>& values) {
  std::string bytes;
  for (const bool value : values) bytes += value ? '\1' : '\0';
  return {std::move(key), GgufValueType::Bool, true, values.size(), std::move(bytes)};
}

GgufEntry GgufEntry::uint8s(std::string key, std::string_view bytes) {
  return {std::move(key), GgufValueType::U8, true, bytes.size(), std::string(bytes)};
}

GgufEntry GgufEntry::int32s(std::string key, const std::vector<int32_t>& values) {
  return {std::move(key), GgufValueType::I32, true, values.size(), bytes_of<uint32_t>(values)};
}

GgufEntry GgufEntry::uint32s(std::string key, const std::vector<uint32_t>& values) {
  return {std::move(key), GgufValueType::U32, true, values.size(), bytes_of<uint32_t>(values)};
}

GgufEntry GgufEntry::float32s(std::string key, const std::vector<float>& values) {
  return {std::move(key), GgufValueType::F32, true, values.size(), bytes_of<float>(values)};
}

GgufEntry GgufEntry::texts(std::string key, const std::vector<std::string>& values) {
  return {std::move(key), GgufValueType::String, true, values.size(),
          bytes_of<std::string_view>(values)};
}

GgufEntry GgufEntry::copy(std::string key, const GgufValue& value) {
  const auto bytes = value.bytes();
  return {std::move(key), value.type(), value.is_array(), value.count(),
          std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
}

GgufValue GgufEntry::value() const {
  return {type_, array_, count_, std::as_bytes(std::span(bytes_)), key_};
}

}  // namespace prunus
