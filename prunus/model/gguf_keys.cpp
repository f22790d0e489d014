#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "prunus/base/error.h"
#include "prunus/io/quote.h"
#include "prunus/model/gguf_config_parts.h"

namespace prunus {

std::string first_name(std::string_view alternatives) {
  return std::string(alternatives.substr(0, alternatives.find('|')));
}

double shortest(double value) {
  std::array<char, 64> text{};
  const auto narrow = static_cast<float>(value);
  const auto end = std::to_chars(text.data(), text.data() + text.size(), narrow).ptr;
  double result = value;
  std::from_chars(text.data(), end, result);
  return static_cast<double>(narrow) == value ? result : value;
}

GgufKeys::GgufKeys(const GgufFile& file, std::string_view architecture)
    : file_(&file), prefix_(std::string(architecture) + ".") {}

std::string GgufKeys::place(std::string_view key) const {
  return c10::str(file_->path(), ": ", quote(prefix_ + std::string(key)));
}

bool GgufKeys::has(std::string_view key) const {
  return file_->find_value(prefix_ + std::string(key)) != nullptr;
}

const GgufValue* GgufKeys::find(std::string_view key) {
  known_.emplace(key);
  return file_->find_value(prefix_ + std::string(key));
}

int64_t GgufKeys::integer(std::string_view key, int64_t low, int64_t high,
                          std::optional<int64_t> fallback) {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  PRUNUS_CHECK(value != nullptr, Corrupt, place(key), " is missing");
  const int64_t number = value->integer();
  PRUNUS_CHECK(number >= low && number <= high, Corrupt, place(key), " is ", number, ", expected ",
               low, " to ", high);
  return number;
}

std::vector<int64_t> GgufKeys::by_layer(std::string_view key, size_t layers, int64_t low,
                                        int64_t high, const std::vector<int64_t>* fallback) {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback != nullptr) return *fallback;
  if (value == nullptr || !value->is_array()) {
    return std::vector<int64_t>(layers, integer(key, low, high));
  }
  std::vector<int64_t> numbers = value->integers();
  PRUNUS_CHECK(numbers.size() == layers, Corrupt, place(key), " holds ", numbers.size(),
               " numbers, expected one for each of ", layers, " layers");
  for (size_t i = 0; i < layers; ++i) {
    PRUNUS_CHECK(numbers[i] >= low && numbers[i] <= high, Corrupt, place(key), "[", i, "] is ",
                 numbers[i], ", expected ", low, " to ", high);
  }
  return numbers;
}

double GgufKeys::positive(std::string_view key, std::optional<double> fallback, bool zero_is_none) {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  PRUNUS_CHECK(value != nullptr, Corrupt, place(key), " is missing");
  const double number = value->number();
  if (zero_is_none && number == 0 && fallback) return *fallback;
  PRUNUS_CHECK(std::isfinite(number) && number > 0, Corrupt, place(key), " is ", number,
               ", expected a finite number above 0");
  return shortest(number);
}

bool GgufKeys::boolean(std::string_view key, bool fallback) {
  const GgufValue* value = find(key);
  return value == nullptr ? fallback : value->boolean();
}

std::string GgufKeys::text(std::string_view key, std::string_view fallback) {
  const GgufValue* value = find(key);
  return std::string(value == nullptr ? fallback : value->text());
}

void GgufKeys::must_be(std::string_view key, double expected) {
  const GgufValue* value = find(key);
  if (value == nullptr) return;
  const bool truth = value->type() == GgufValueType::Bool && !value->is_array();
  const double number = truth ? static_cast<double>(value->boolean()) : value->number();
  PRUNUS_CHECK(number == expected, Unsupported, place(key), " is ", number, "; only ", expected,
               " is implemented for this architecture");
}

void GgufKeys::ignore(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) known_.emplace(key);
}

void GgufKeys::check_all_known() const {
  std::string left;
  for (const auto& [key, value] : file_->metadata()) {
    if (!key.starts_with(prefix_) || known_.contains(key.substr(prefix_.size()))) continue;
    left += (left.empty() ? "" : ", ") + quote(key);
  }
  PRUNUS_CHECK(left.empty(), Unsupported, file_->path(), ": metadata ", left,
               " may change the mathematics and Prunus does not implement it");
}

}  // namespace prunus
