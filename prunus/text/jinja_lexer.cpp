#include "prunus/text/jinja_lexer.h"

#include <algorithm>
#include <charconv>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/utf8.h"

namespace prunus::text::jinja {
namespace {

constexpr size_t kMostSource = size_t{1} << 20;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// Python's universal newlines become '\n'; one at the end is dropped.
std::string normalised(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where)
      : text_(normalised(source)), where_(where) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) outside();
    add(TokenKind::End, "");
    return std::move(tokens_);
  }

 private:
  // From the end of a tag to the beginning of the next one.
  void outside() {
    size_t begin = text_.find('{', at_);
    while (begin != std::string::npos && !opens(begin)) begin = text_.find('{', begin + 1);
    if (begin == std::string::npos) {
      add_text(text_.substr(at_));
      move_to(text_.size());
      return;
    }
    const char kind = text_[begin + 1];
    const char sign = begin + 2 < text_.size() ? text_[begin + 2] : '\0';
    add_text(before_tag(begin, sign, kind != '{'));
    move_to(begin);
    const size_t inner = begin + (sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') return comment(inner);
    if (kind == '%' && word_at(inner) == "raw") return raw(inner);
    add(kind == '%' ? TokenKind::BlockBegin : TokenKind::PrintBegin, "");
    move_to(kind == '{' && sign == '+' ? begin + 2 : inner);
    inside(kind == '%' ? '%' : '}');
  }

  bool opens(size_t at) const {
    return at + 1 < text_.size() &&
           (text_[at + 1] == '{' || text_[at + 1] == '%' || text_[at + 1] == '#');
  }

  // The text up to a tag with its white space taken away as `sign` and lstrip_blocks want it.
  std::string before_tag(size_t begin, char sign, bool block) const {
    const std::string_view text(text_.data() + at_, begin - at_);
    if (sign == '-') return std::string(strip(text, Side::Right));
    if (!block || sign == '+') return std::string(text);
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    const bool starts = line > 0 || at_ == 0 || text_[at_ - 1] == '\n';
    const bool blank = starts && strip(text.substr(line), Side::Both).empty();
    return std::string(blank ? text.substr(0, line) : text);
  }

  std::string_view word_at(size_t at) const {
    while (at < text_.size() && is_python_space(static_cast<unsigned char>(text_[at]))) ++at;
    size_t end = at;
    while (end < text_.size() && is_name(text_[end])) ++end;
    return std::string_view(text_).substr(at, end - at);
  }

  // Behind a tag: `-` takes all white space, trim_blocks one newline unless `+` is there.
  void after_tag(char sign, bool trims) {
    if (sign == '-') {
      const std::string_view rest = std::string_view(text_).substr(at_);
      move_to(text_.size() - strip(rest, Side::Left).size());
    } else if (trims && sign != '+' && at_ < text_.size() && text_[at_] == '\n') {
      move_to(at_ + 1);
    }
  }

  void comment(size_t inner) {
    const size_t end = text_.find("#}", inner);
    PRUNUS_CHECK(end != std::string::npos, Corrupt, here(), ": the comment has no end");
    const char sign = end > inner ? text_[end - 1] : '\0';
    move_to(end + 2);
    after_tag(sign, true);
  }

  void raw(size_t inner) {
    const size_t end = text_.find("%}", inner);
    PRUNUS_CHECK(end != std::string::npos, Corrupt, here(), ": the raw tag has no end");
    const std::string start = here();
    move_to(end + 2);
    after_tag(text_[end - 1] == '-' ? '-' : '\0', false);
    for (size_t tag = text_.find("{%", at_); tag != std::string::npos;
         tag = text_.find("{%", tag + 1)) {
      const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
      const size_t word = tag + (sign == '-' || sign == '+' ? 3 : 2);
      const size_t close = text_.find("%}", word);
      if (word_at(word) != "endraw" || close == std::string::npos) continue;
      add_text(before_tag(tag, sign, true));
      move_to(close + 2);
      return after_tag(text_[close - 1], true);
    }
    PRUNUS_FAIL(Corrupt, start, ": the raw block has no end");
  }

  // The tokens of a tag, its end included. `close` is the first character of that.
  void inside(char close) {
    const std::string start = here();
    int open = 0;  // brackets
    while (true) {
      while (at_ < text_.size() && is_python_space(static_cast<unsigned char>(text_[at_]))) {
        move_to(at_ + 1);
      }
      PRUNUS_CHECK(at_ < text_.size(), Corrupt, start, ": the tag has no end");
      if (open == 0 && close_tag(close)) return;
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        string(c);
      } else if (is_digit(c)) {
        number();
      } else if (is_name(c)) {
        size_t end = at_;
        while (end < text_.size() && is_name(text_[end])) ++end;
        take(TokenKind::Name, end);
      } else {
        open += c == '(' || c == '[' || c == '{' ? 1 : c == ')' || c == ']' || c == '}' ? -1 : 0;
        PRUNUS_CHECK(open >= 0, Corrupt, here(), ": '", c, "' closes nothing");
        op();
      }
    }
  }

  bool close_tag(char close) {
    const char c = text_[at_];
    const size_t sign = c == '-' || (c == '+' && close == '%') ? 1 : 0;
    if (text_.compare(at_ + sign, 2, std::string{close, '}'}) != 0) return false;
    add(close == '%' ? TokenKind::BlockEnd : TokenKind::PrintEnd, "");
    move_to(at_ + sign + 2);
    after_tag(sign == 1 ? c : '\0', close == '%');
    return true;
  }

  void string(char quote) {
    std::string content;
    size_t at = at_ + 1;
    while (at < text_.size() && text_[at] != quote) {
      if (text_[at] == '\\') {
        at = escape(at + 1, content);
      } else {
        content += text_[at++];
      }
    }
    PRUNUS_CHECK(at < text_.size(), Corrupt, here(), ": the string has no end");
    add(TokenKind::String, content);
    move_to(at + 1);
  }

  // Appends what the escape behind a backslash stands for; returns where it ends.
  size_t escape(size_t at, std::string& content) const {
    constexpr std::string_view kNames = "\\'\"abfnrtv";
    constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
    PRUNUS_CHECK(at < text_.size(), Corrupt, here(), ": the string has no end");
    const char c = text_[at];
    if (c == '\n') return at + 1;
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      content += kValues[known];
      return at + 1;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    PRUNUS_CHECK(!is_digit(c) && c != 'N', Unsupported, here(), ": the escape \\", c,
                 " in a string is not supported");
    if (digits == 0) {
      content += '\\';
      return at;
    }
    uint32_t value = 0;
    const char* begin = text_.data() + at + 1;
    const char* end = begin + std::min(digits, text_.size() - at - 1);
    const auto read = std::from_chars(begin, end, value, 16);
    PRUNUS_CHECK(
        read.ptr == begin + digits && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff),
        Corrupt, here(), ": the escape \\", c, " names no character");
    append_utf8(content, value);
    return at + 1 + digits;
  }

  void number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < text_.size() && (is_digit(text_[end]) || text_[end] == '_')) ++end;
    };
    digits();
    bool real = false;
    const bool member = at_ > 0 && text_[at_ - 1] == '.';
    if (!member && end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (!member && end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '-' || text_[exponent] == '+')) ++exponent;
      if (exponent < text_.size() && is_digit(text_[exponent])) {
        real = true;
        end = exponent;
        digits();
      }
    }
    PRUNUS_CHECK(end >= text_.size() || !is_name(text_[end]), Corrupt, here(), ": not a number");
    take(real ? TokenKind::Float : TokenKind::Integer, end);
    std::erase(tokens_.back().text, '_');
  }

  void op() {
    constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kOne = "+-*/%~[](){}><=.:|,;";
    for (const std::string_view two : kTwo) {
      if (text_.compare(at_, 2, two) == 0) return take(TokenKind::Operator, at_ + 2);
    }
    PRUNUS_CHECK(kOne.find(text_[at_]) != std::string_view::npos, Corrupt, here(), ": '",
                 text_[at_], "' is not known in a tag");
    take(TokenKind::Operator, at_ + 1);
  }

  void take(TokenKind kind, size_t end) {
    add(kind, text_.substr(at_, end - at_));
    move_to(end);
  }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), place_}); }
  void add_text(std::string text) {
    if (!text.empty()) add(TokenKind::Text, std::move(text));
  }

  void move_to(size_t end) {
    for (; at_ < end; ++at_) {
      const bool newline = text_[at_] == '\n';
      place_.line += newline ? 1 : 0;
      place_.column = newline ? 1 : place_.column + 1;
    }
  }

  std::string here() const { return at_place(where_, place_); }

  std::string text_;
  const std::string& where_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  Place place_;
};

}  // namespace

std::string at_place(const std::string& where, const Place& place) {
  return c10::str(where, ": line ", place.line, ", column ", place.column);
}

std::vector<Token> tokens_of(std::string_view source, const std::string& where) {
  PRUNUS_CHECK(source.size() <= kMostSource, Corrupt, where, ": the chat template has ",
               source.size(), " bytes, expected at most ", kMostSource);
  const auto invalid = first_invalid_utf8(source);
  PRUNUS_CHECK(!invalid, Corrupt, where, ": the chat template is not valid UTF-8 at byte ",
               invalid.value_or(0));
  return Lexer(source, where).run();
}

}  // namespace prunus::text::jinja
