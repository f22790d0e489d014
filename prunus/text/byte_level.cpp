#include "prunus/text/byte_level.h"

#include <array>
#include <cstdint>

#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

constexpr size_t kCharacters = 256 + 68;

struct Alphabet {
  std::array<std::string, 256> spelling;
  std::array<int16_t, kCharacters> byte;  // -1 where a character stands for no byte

  Alphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (int value = 0; value < 256; ++value) {
      const bool printable = (value >= '!' && value <= '~') || (value >= 0xA1 && value != 0xAD);
      const char32_t character = printable ? static_cast<char32_t>(value) : next++;
      append_utf8(spelling[static_cast<size_t>(value)], character);
      byte[character] = static_cast<int16_t>(value);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) out += alphabet().spelling[static_cast<uint8_t>(byte)];
  return out;
}

void append_spelled(std::string& bytes, std::string_view token) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < token.size();) {
    const CodePoint c = code_point_at(token, at);
    const int byte = c.value < kCharacters ? alphabet().byte[c.value] : -1;
    if (byte < 0) {
      bytes.resize(before);
      bytes.append(token);
      return;
    }
    bytes += static_cast<char>(byte);
    at += c.bytes;
  }
}

}  // namespace prunus::text
