#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace prunus::text::jinja {

// Python's string operations on valid UTF-8.

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
/// What str.isspace() and \s of Python call white space.
bool is_python_space(char32_t value);
/// The characters, each a piece of `text`.
std::vector<std::string_view> characters(std::string_view text);

enum class Side { Both, Left, Right };
/// Without white space, or without `chars` where given (not null), on a side or both.
std::string_view strip(std::string_view text, Side side, const std::string* chars = nullptr);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// First character in upper case, the rest in lower case.
std::string capitalize(std::string_view text);
/// Each run of letters capitalised, as str.title().
std::string title(std::string_view text);
/// Words behind white space and opening brackets capitalised, as Jinja's filter.
std::string title_filter(std::string_view text);

/// At most `most` replacements; all where negative. Throws std::length_error as std::string.
std::string replace(std::string_view text, std::string_view old, std::string_view by,
                    long long most = -1);
/// str.split(), str.rsplit(): at runs of white space where `separator` is null.
std::vector<std::string> split(std::string_view text, const std::string* separator,
                               long long most = -1);
std::vector<std::string> split_right(std::string_view text, const std::string* separator,
                                     long long most);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends = false);

/// repr() of a string; a number as Python prints it.
std::string python_quoted(std::string_view text);
std::string print_float(double value);
/// A JSON string with its quotes.
std::string json_string(std::string_view text, bool ensure_ascii);

}  // namespace prunus::text::jinja
