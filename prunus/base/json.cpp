#include "prunus/base/json.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/stand_in.h"

namespace prunus {
namespace {

constexpr int kMaxDepth = 64;

// Rejects what the grammar allows but a file we trust with sizes and names must not contain.
class Watcher {
 public:
  explicit Watcher(const std::string& where) : where_(where) {}

  bool operator()(int depth, nlohmann::detail::parse_event_t event, const Json& parsed) {
    using Event = nlohmann::detail::parse_event_t;
    // `depth` counts the containers around the event, not the one that it opens.
    const int opened = event == Event::object_start || event == Event::array_start ? 1 : 0;
    PRUNUS_CHECK(depth + opened <= kMaxDepth, Corrupt, where_, ": JSON nested deeper than ",
                 kMaxDepth);
    if (event == Event::object_start) {
      keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto key = parsed.get<std::string>();
      PRUNUS_CHECK(keys_.back().insert(key).second, Corrupt, where_, ": duplicate key '", key, "'");
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
};

// "line 3, column 7"; of a text of one line only the column. Columns count bytes, from 1.
std::string place_of(std::string_view text, size_t at) {
  const std::string_view before = text.substr(0, at);
  const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  const size_t begin = before.rfind('\n') + 1;  // npos + 1 is 0
  const size_t newline = std::min(text.find('\n'), text.size());
  const bool one_line = text.find_first_not_of(" \t\r\n", newline) == text.npos;
  return one_line ? c10::str("column ", at + 1)
                  : c10::str("line ", line, ", column ", at - begin + 1);
}

// What the parser's own message says was expected, in words of ours.
std::string expected_of(std::string_view message) {
  constexpr std::pair<std::string_view, const char*> kWords[] = {
      {"UTF-8", "expected UTF-8"},
      {"control character", "a control character must be escaped in a string"},
      {"missing closing quote", "a string has no closing quote"},
      {"invalid string", "expected \\ and one of \"\\/bfnrt or u and four hexadecimal digits"},
      {"invalid number", "a number is not complete"},
      {"invalid BOM", "expected UTF-8"},
      {"number overflow", "a number is too large for a double"},
      {"parsing object key", "expected a key in double quotes"},
      {"parsing object separator", "expected ':' behind the key"},
      {"parsing object", "expected ',' or '}'"},
      {"parsing array", "expected ',' or ']'"},
      {"expected end of input", "expected nothing more"},
      {"parsing value", "expected a value"}};
  for (const auto& [part, words] : kWords) {
    if (message.find(part) != message.npos) return words;
  }
  return "expected a value";
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-' ||
         c == '+';
}

// The parser names the last byte that it read of a number, word or string: where that begins.
size_t begin_of_token(std::string_view text, size_t at, std::string_view message) {
  if (message.find("unexpected string literal") != message.npos) {
    while (at > 0 && (text[at - 1] != '"' || (at > 1 && text[at - 2] == '\\'))) --at;
    return at == 0 ? 0 : at - 1;
  }
  const auto says = [&](std::string_view part) { return message.find(part) != message.npos; };
  const bool word = says("invalid literal") || (says("unexpected") && !says("unexpected end"));
  while (word && at > 0 && is_word(text[at - 1])) --at;
  return at;
}

// A word or string in full, as far as it is short; anything else by its first byte.
std::string token_at(std::string_view rest) {
  constexpr size_t kMostShown = 24;
  size_t end = rest[0] == '"' ? rest.find('"', 1) + 1 : 0;  // npos + 1 is 0
  while (end < rest.size() && rest[0] != '"' && is_word(rest[end])) ++end;
  if (end > 0) return std::string(rest.substr(0, std::min(end, kMostShown)));
  const auto first = static_cast<unsigned char>(rest[0]);
  constexpr char kDigits[] = "0123456789abcdef";
  if (first >= 0x20 && first < 0x7F) return std::string(1, rest[0]);
  return std::string("byte 0x") + kDigits[first >> 4] + kDigits[first & 15];
}

// What stands there, with what people and programs write where JSON has something else.
std::string found_at(std::string_view text, size_t at) {
  constexpr const char* kBlank = " \t\r\n";
  const std::string_view rest = text.substr(at);
  if (rest.find_first_not_of(kBlank) == rest.npos) return "the end; incomplete download?";
  const size_t last = at == 0 ? text.npos : text.find_last_not_of(kBlank, at - 1);
  const bool after_comma = last != text.npos && text[last] == ',';
  if (after_comma && (rest[0] == '}' || rest[0] == ']')) {
    return c10::str(rest.substr(0, 1), " (no comma may stand before it)");
  }
  constexpr std::pair<std::string_view, const char*> kHabits[] = {
      {"'", "' (strings have double quotes)"},
      {"//", "// (JSON has no comments)"},
      {"/*", "/* (JSON has no comments)"},
      {"NaN", "NaN, which JSON does not have"},
      {"Infinity", "Infinity, which JSON does not have"},
      {"True", "True, which JSON spells true"},
      {"False", "False, which JSON spells false"},
      {"None", "None, which JSON spells null"}};
  for (const auto& [begins, words] : kHabits) {
    if (rest.starts_with(begins)) return words;
  }
  return token_at(rest);
}

[[noreturn]] void refuse(std::string_view text, const std::string& where, size_t byte,
                         std::string_view message) {
  const bool blank = text.find_first_not_of(" \t\r\n") == text.npos;
  PRUNUS_CHECK(!blank, Corrupt, where, ": is empty: not valid JSON; incomplete download?");
  const size_t at = begin_of_token(text, std::min(byte == 0 ? 0 : byte - 1, text.size()), message);
  PRUNUS_FAIL(Corrupt, where, ": ", place_of(text, at), ": not valid JSON: ", expected_of(message),
              ", got ", found_at(text, at));
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  check_no_stand_in(text, where);
  // The parser takes a zero byte for the end of its input and would ignore what follows.
  PRUNUS_CHECK(text.find('\0') == std::string_view::npos, Corrupt, where, ": contains a zero byte");
  try {
    Watcher watcher(where);
    return Json::parse(text.begin(), text.end(), std::ref(watcher));
  } catch (const nlohmann::json::parse_error& error) {
    refuse(text, where, error.byte, error.what());
  } catch (const nlohmann::json::exception& error) {
    PRUNUS_FAIL(Corrupt, where, ": not valid JSON: ", expected_of(error.what()));
  }
}

Json read_json(const std::string& path, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path);
}

}  // namespace prunus
