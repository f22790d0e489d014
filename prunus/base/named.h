#pragma once
#include <string>
#include <string_view>
#include <utility>

#include "prunus/base/error.h"

namespace prunus {

/// The value that `name` stands for in a table of names as on the command line.
/// Throws InvalidArgument naming `option` and listing the known names.
template <typename Value, size_t N>
Value parse_named(const std::pair<std::string_view, Value> (&names)[N], std::string_view name,
                  std::string_view option) {
  std::string known;
  for (const auto& [one, value] : names) {
    if (one == name) return value;
    known += c10::str(known.empty() ? "" : ", ", one);
  }
  PRUNUS_FAIL(InvalidArgument, option, " '", name, "' is not known; known: ", known);
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
