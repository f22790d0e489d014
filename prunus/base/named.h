#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"

namespace prunus {

/// The value that `name` stands for in a table of names as on the command line.
/// Throws InvalidArgument naming `option`, the known names and the nearest of them.
template <typename Value, size_t N>
Value parse_named(const std::pair<std::string_view, Value> (&names)[N], std::string_view name,
                  std::string_view option) {
  std::vector<std::string> known;
  for (const auto& [one, value] : names) {
    if (one == name) return value;
    known.emplace_back(one);
  }
  PRUNUS_FAIL(InvalidArgument, option, " ", unknown_word(name, known));
}

/// The other way round; "?" for a value without a name.
template <typename Value, size_t N>
std::string_view name_of(const std::pair<std::string_view, Value> (&names)[N], Value value) {
  for (const auto& [name, one] : names) {
    if (one == value) return name;
  }
  return "?";
}

}  // namespace prunus
