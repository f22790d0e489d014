#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace prunus::text {

/// U+2581, the visible space of sentencepiece vocabularies.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

/// A character and the number of bytes it takes.
struct CodePoint {
  char32_t value;
  size_t bytes;
};

/// Offset of the first byte that does not belong to valid UTF-8 (no surrogates, no overlong forms,
/// at most U+10FFFF); nothing where all of `text` is valid.
std::optional<size_t> first_invalid_utf8(std::string_view text);

/// The character at byte `at`. `text` must be valid UTF-8 and `at` the start of a character.
CodePoint code_point_at(std::string_view text, size_t at);

/// The last character of a non-empty valid text.
CodePoint last_code_point(std::string_view text);

/// Appends the UTF-8 form of `value`.
void append_utf8(std::string& text, char32_t value);

/// `bytes` with each maximal broken sequence replaced by one U+FFFD, as Rust's from_utf8_lossy.
/// Source: Unicode 15, section 3.9, "Substitution of Maximal Subparts".
std::string repair_utf8(std::string_view bytes);

/// Unicode White_Space.
bool is_white_space(char32_t value);
/// What a Unicode regular expression calls \w.
bool is_word(char32_t value);
/// Unicode category Mn, Mc or Me.
bool is_mark(char32_t value);
/// ASCII punctuation and symbols, or a Unicode category that begins with P.
bool is_punctuation(char32_t value);
/// Unicode category Nd, Nl or No.
bool is_numeric(char32_t value);
/// Lower case without context, appended to `text`.
void append_lower(std::string& text, char32_t value);

}  // namespace prunus::text
