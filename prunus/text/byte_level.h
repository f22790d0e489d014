#pragma once
#include <string>
#include <string_view>

namespace prunus::text {

/// Each byte as a visible character, the way byte-level vocabularies are written: printable Latin-1
/// stays itself, the other 68 bytes become U+0100, U+0101 … in order (a space is U+0120, "Ġ").
/// Source: OpenAI GPT-2, bytes_to_unicode.
std::string spell_bytes(std::string_view bytes);

/// Appends the bytes that a token of such a vocabulary stands for; a token with any character that
/// stands for no byte is appended as it is, as in Hugging Face.
void append_spelled(std::string& bytes, std::string_view token);

}  // namespace prunus::text
