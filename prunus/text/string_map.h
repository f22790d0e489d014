#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace prunus::text {

/// Lets a map of std::string be searched with a std::string_view, without making a string.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

/// Hash map from strings; find() takes anything that converts to std::string_view.
template <typename Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

}  // namespace prunus::text
