#include "prunus/text/jinja_strings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <utf8proc.h>

#include "prunus/text/utf8.h"

namespace prunus::text::jinja {
namespace {

char32_t first_of(std::string_view text) { return code_point_at(text, 0).value; }

utf8proc_int32_t raw(char32_t value) { return static_cast<utf8proc_int32_t>(value); }

bool is_letter(char32_t value) {
  const auto category = utf8proc_category(raw(value));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

void append_upper(std::string& text, char32_t value) {
  append_utf8(text, static_cast<char32_t>(utf8proc_toupper(raw(value))));
}

// What str.isprintable() is false for.
bool hidden(char32_t value) {
  if (value == ' ') return false;
  switch (utf8proc_category(raw(value))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return false;
  }
}

void append_hex(std::string& text, uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    text += "0123456789abcdef"[(value >> shift) & 15];
  }
}

bool ends_line(char32_t value) {
  return (value >= '\n' && value <= '\r') || (value >= 0x1c && value <= 0x1e) || value == 0x85 ||
         value == 0x2028 || value == 0x2029;
}

// Every first character behind one that `opens` in upper case, the others in lower case.
template <typename Opens>
std::string cased(std::string_view text, const Opens& opens) {
  std::string result;
  bool begin = true;
  for (const std::string_view one : characters(text)) {
    const char32_t value = first_of(one);
    begin ? append_upper(result, value) : append_lower(result, value);
    begin = opens(value);
  }
  return result;
}

bool is_stripped(std::string_view one, const std::string* chars) {
  if (chars == nullptr) return is_python_space(first_of(one));
  const auto all = characters(*chars);
  return std::find(all.begin(), all.end(), one) != all.end();
}

std::vector<std::string> split_spaces(std::string_view text, long long most) {
  std::vector<std::string> parts;
  std::string_view rest = strip(text, Side::Left);
  while (!rest.empty()) {
    if (most >= 0 && static_cast<long long>(parts.size()) == most) {
      parts.emplace_back(rest);  // its end stays as it is
      break;
    }
    size_t end = 0;
    while (end < rest.size() && !is_python_space(code_point_at(rest, end).value)) {
      end += code_point_at(rest, end).bytes;
    }
    parts.emplace_back(rest.substr(0, end));
    rest = strip(rest.substr(end), Side::Left);
  }
  return parts;
}

// The exponent of a number from 1e16 on or below 1e-4, as Python writes it: two digits at least.
std::string scientific(double value) {
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  return {buffer.data(), end.ptr};
}

}  // namespace

bool is_python_space(char32_t value) {
  return (value >= '\t' && value <= '\r') || (value >= 0x1c && value <= 0x20) || value == 0x85 ||
         value == 0xa0 || value == 0x1680 || (value >= 0x2000 && value <= 0x200a) ||
         value == 0x2028 || value == 0x2029 || value == 0x202f || value == 0x205f ||
         value == 0x3000;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = code_point_at(text, at).bytes;
    all.push_back(text.substr(at, bytes));
    at += bytes;
  }
  return all;
}

std::string_view strip(std::string_view text, Side side, const std::string* chars) {
  while (side != Side::Right && !text.empty()) {
    const size_t bytes = code_point_at(text, 0).bytes;
    if (!is_stripped(text.substr(0, bytes), chars)) break;
    text.remove_prefix(bytes);
  }
  while (side != Side::Left && !text.empty()) {
    const size_t bytes = last_code_point(text).bytes;
    if (!is_stripped(text.substr(text.size() - bytes), chars)) break;
    text.remove_suffix(bytes);
  }
  return text;
}

std::string upper(std::string_view text) {
  return cased(text, [](char32_t) { return true; });
}

std::string lower(std::string_view text) {
  std::string result;
  for (const std::string_view one : characters(text)) append_lower(result, first_of(one));
  return result;
}

std::string capitalize(std::string_view text) {
  return cased(text, [](char32_t) { return false; });
}

std::string title(std::string_view text) {
  return cased(text, [](char32_t value) { return !is_letter(value); });
}

std::string title_filter(std::string_view text) {
  return cased(text, [](char32_t value) {
    return is_python_space(value) || value == '-' || value == '(' || value == '{' || value == '[' ||
           value == '<';
  });
}

std::string replace(std::string_view text, std::string_view old, std::string_view by,
                    long long most) {
  std::string result;
  size_t at = 0;
  if (old.empty()) {  // in front of every character and behind the last
    long long count = 0;
    const auto put = [&] {
      if (most < 0 || count++ < most) result += by;
    };
    for (const std::string_view one : characters(text)) {
      put();
      result += one;
    }
    put();
    return result;
  }
  for (long long count = 0; most < 0 || count < most; ++count) {
    const size_t found = text.find(old, at);
    if (found == std::string_view::npos) break;
    result.append(text.substr(at, found - at)).append(by);
    at = found + old.size();
  }
  return result.append(text.substr(at));
}

std::vector<std::string> split(std::string_view text, const std::string* separator,
                               long long most) {
  if (separator == nullptr) return split_spaces(text, most);
  std::vector<std::string> parts;
  size_t at = 0;
  while (most < 0 || static_cast<long long>(parts.size()) < most) {
    const size_t found = text.find(*separator, at);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(at, found - at));
    at = found + separator->size();
  }
  parts.emplace_back(text.substr(at));
  return parts;
}

std::vector<std::string> split_right(std::string_view text, const std::string* separator,
                                     long long most) {
  std::vector<std::string> parts;
  std::string_view rest = separator == nullptr ? strip(text, Side::Right) : text;
  const auto has_room = [&] { return most < 0 || static_cast<long long>(parts.size()) < most; };
  while (has_room() && !(separator == nullptr && rest.empty())) {
    size_t end = rest.size();
    size_t skip = 0;
    if (separator != nullptr) {
      end = rest.rfind(*separator);
      if (end == std::string_view::npos) break;
      skip = separator->size();
    } else {
      while (end > 0 && !is_python_space(last_code_point(rest.substr(0, end)).value)) {
        end -= last_code_point(rest.substr(0, end)).bytes;
      }
    }
    parts.emplace_back(rest.substr(end + skip));
    rest = rest.substr(0, end);
    if (separator == nullptr) rest = strip(rest, Side::Right);
  }
  if (separator == nullptr) rest = strip(rest, Side::Both);
  if (separator != nullptr || !rest.empty()) parts.emplace_back(rest);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [value, bytes] = code_point_at(text, at);
    const size_t end = at;
    at += bytes;
    if (!ends_line(value)) continue;
    if (value == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.emplace_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

std::string python_quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string result(1, quote);
  for (const std::string_view one : characters(text)) {
    const char32_t value = first_of(one);
    if (value == '\n') {
      result += "\\n";
    } else if (value == '\r') {
      result += "\\r";
    } else if (value == '\t') {
      result += "\\t";
    } else if (value == '\\' || value == static_cast<char32_t>(quote)) {
      result.append("\\").append(one);
    } else if (!hidden(value)) {
      result += one;
    } else {
      result += value < 0x100 ? "\\x" : value < 0x10000 ? "\\u" : "\\U";
      append_hex(result, value, value < 0x100 ? 2 : value < 0x10000 ? 4 : 8);
    }
  }
  return result += quote;
}

std::string print_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const double size = std::abs(value);
  if (size != 0 && (size >= 1e16 || size < 1e-4)) return scientific(value);
  std::array<char, 64> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string text(buffer.data(), end.ptr);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string json_string(std::string_view text, bool ensure_ascii) {
  constexpr std::string_view kPlain = "\"\\\n\r\t\f\b";
  constexpr std::string_view kShort = "\"\\nrtfb";
  std::string result = "\"";
  const auto unit = [&](uint32_t value) { append_hex(result.append("\\u"), value, 4); };
  for (const std::string_view one : characters(text)) {
    const char32_t value = first_of(one);
    const size_t known = one.size() == 1 ? kPlain.find(one[0]) : std::string_view::npos;
    if (known != std::string_view::npos) {
      result.append("\\").append(1, kShort[known]);
    } else if (value < 0x20 || (ensure_ascii && value > 0x7f && value < 0x10000)) {
      unit(value);
    } else if (ensure_ascii && value >= 0x10000) {
      unit(0xd800 + ((value - 0x10000) >> 10));
      unit(0xdc00 + ((value - 0x10000) & 0x3ff));
    } else {
      result += one;
    }
  }
  return result += '"';
}

}  // namespace prunus::text::jinja
