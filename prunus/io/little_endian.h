#pragma once
#include <cstddef>
#include <string>

namespace prunus {

/// The unsigned number that starts at `from`, lowest byte first, at any alignment.
template <typename T>
T load_little(const std::byte* from) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(static_cast<T>(from[i]) << (8 * i)));
  }
  return value;
}

/// Appends an unsigned number, lowest byte first.
template <typename T>
void append_little(std::string& to, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) to += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace prunus
