#include "prunus/base/quantity.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>

#include <c10/util/Exception.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

struct Unit {
  std::string_view name;  // in lower case
  double factor;
};

constexpr Unit kCountUnits[] = {{"k", 1e3}, {"m", 1e6}, {"b", 1e9}, {"g", 1e9}, {"t", 1e12}};
constexpr Unit kByteUnits[] = {
    {"b", 1},        {"kb", 1e3},     {"mb", 1e6},     {"gb", 1e9},     {"tb", 1e12},
    {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"tib", 0x1p40},
};
constexpr char kCountExamples[] = "a count such as 5.4B, 350M, 12K or 1234567";
constexpr char kByteExamples[] = "bytes such as 4GiB, 500MB, 64MiB or 1024";
constexpr char kTargetExamples[] = "a part of the original such as 0.8x, or a count such as 5.4B";

// A text in two: a non-negative number, and the rest in lower case.
struct Split {
  long double number;  // its 64 bits hold every int64
  std::string unit;
};

std::optional<Split> split(std::string_view text) {
  Split result{};
  const char* end = text.data() + text.size();
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) == 0) return std::nullopt;
  const auto [rest, error] = std::from_chars(text.data(), end, result.number);
  if (error != std::errc()) return std::nullopt;
  for (const char* at = rest; at != end; ++at) {
    result.unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*at)));
  }
  return result;
}

// The nearest whole number, where it is positive and an int64.
std::optional<int64_t> whole(long double value) {
  const long double rounded = std::round(value);
  if (!(rounded >= 1 && rounded < 0x1p63L)) return std::nullopt;
  return static_cast<int64_t>(rounded);
}

std::optional<int64_t> parse(std::string_view text, std::span<const Unit> units) {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  if (parts->unit.empty()) {
    return parts->number == std::floor(parts->number) ? whole(parts->number) : std::nullopt;
  }
  for (const Unit& unit : units) {
    if (parts->unit == unit.name) return whole(parts->number * unit.factor);
  }
  return std::nullopt;
}

int64_t parse_or_throw(std::string_view text, std::span<const Unit> units,
                       const std::string& option, const char* examples) {
  const auto value = parse(text, units);
  PRUNUS_CHECK(value, InvalidArgument, option, ": got '", text, "', expected ", examples,
               "; positive and below 2^63");
  return *value;
}

std::string scaled(double value, double base, std::initializer_list<const char*> units) {
  auto unit = units.begin();
  while (value >= base && unit + 1 != units.end()) {
    value /= base;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof text, value < 10 && unit != units.begin() ? "%.2f%s" : "%.4g%s", value,
                *unit);
  return text;
}

}  // namespace

int64_t parse_count(std::string_view text, const std::string& option) {
  return parse_or_throw(text, kCountUnits, option, kCountExamples);
}

int64_t parse_bytes(std::string_view text, const std::string& option) {
  return parse_or_throw(text, kByteUnits, option, kByteExamples);
}

int64_t parse_target(std::string_view text, int64_t original, const std::string& option) {
  TORCH_INTERNAL_ASSERT(original >= 1);
  const auto parts = split(text);
  const bool part = parts && parts->unit == "x";
  const auto target =
      part ? whole(parts->number * static_cast<long double>(original)) : parse(text, kCountUnits);
  PRUNUS_CHECK(target, InvalidArgument, option, ": got '", text, "', expected ", kTargetExamples);
  PRUNUS_CHECK(*target <= original, InvalidArgument, option, ": got '", text, "', which is ",
               *target, ", but the original has only ", original, "; expected ", kTargetExamples);
  return *target;
}

double parse_share(std::string_view text, const std::string& option) {
  const auto parts = split(text);
  PRUNUS_CHECK(parts && parts->unit == "x" && parts->number > 0 && parts->number < 1,
               InvalidArgument, option, ": got '", text,
               "', expected a part of the original such as 0.6x, above 0 and below 1");
  return static_cast<double>(parts->number);
}

std::string human_count(int64_t count) {
  return scaled(static_cast<double>(count), 1000, {"", " K", " M", " B", " T"});
}

std::string human_bytes(int64_t bytes) {
  return scaled(static_cast<double>(bytes), 1024, {" B", " KiB", " MiB", " GiB", " TiB"});
}

}  // namespace prunus
