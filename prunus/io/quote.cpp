#include "prunus/io/quote.h"

namespace prunus {

std::string quote(std::string_view text, size_t max_bytes) {
  const bool cut = text.size() > max_bytes;
  if (cut) {
    // Never in the middle of a UTF-8 character.
    while (max_bytes > 0 && (static_cast<unsigned char>(text[max_bytes]) & 0xC0) == 0x80) {
      --max_bytes;
    }
    text = text.substr(0, max_bytes);
  }
  std::string shown = "'";
  for (const char c : text) shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return shown + (cut ? "...'" : "'");
}

}  // namespace prunus
