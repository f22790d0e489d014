#include "prunus/eval/wikitext.h"

#include <algorithm>
#include <utility>

#include "prunus/text/utf8.h"

namespace prunus {
namespace {

// Python's \s: Unicode White_Space and the four separators of ASCII.
bool is_space(char32_t value) {
  return text::is_white_space(value) || (value >= 0x1C && value <= 0x1F);
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

void replace_each(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != text.npos; at = found + from.size()) {
    result.append(text, at, found - at).append(to);
  }
  text = result.append(text, at);
}

std::string_view trim(std::string_view inside) {
  while (!inside.empty()) {
    const text::CodePoint first = text::code_point_at(inside, 0);
    if (!is_space(first.value)) break;
    inside.remove_prefix(first.bytes);
  }
  while (!inside.empty()) {
    const text::CodePoint last = text::last_code_point(inside);
    if (!is_space(last.value)) break;
    inside.remove_suffix(last.bytes);
  }
  return inside;
}

// Blanks just inside a pair of marks go; pairs are taken from the left and do not overlap.
void trim_inside(std::string& text, char open, char close) {
  std::string result;
  size_t at = 0;
  while (true) {
    const size_t begin = text.find(open, at);
    const size_t end = begin == text.npos ? text.npos : text.find(close, begin + 1);
    if (end == text.npos) break;
    result.append(text, at, begin + 1 - at);
    result.append(trim(std::string_view(text).substr(begin + 1, end - begin - 1)));
    result += close;
    at = end + 1;
  }
  text = result.append(text, at);
}

// The lines of a text, each with its newline; the last may have none.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    lines.push_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return lines;
}

// " = Title = ", but not " = = Section = = ".
bool is_title(std::string_view line) {
  if (line.find('=') == line.npos) return false;
  std::string text(line);
  replace_each(text, "= = =", "===");
  replace_each(text, "= =", "==");
  const std::string_view bare = trim(text);
  return bare.starts_with("= ") && bare.ends_with(" =");
}

}  // namespace

std::vector<std::string> wikitext_rows(std::string_view raw) {
  std::vector<std::string> rows;
  for (std::string_view line : lines_of(raw)) {
    if (line.ends_with('\n')) line.remove_suffix(1);
    rows.push_back(is_blank(line) ? std::string() : std::string(line) + '\n');
  }
  return rows;
}

std::vector<std::string> wikitext_pages(std::string_view raw) {
  std::vector<std::string> pages;
  std::string page;
  const auto end_page = [&] {
    if (!is_blank(page)) pages.push_back(std::move(page));
    page.clear();
  };
  for (const std::string_view line : lines_of(raw)) {
    if (is_title(line)) end_page();
    page += line;
  }
  end_page();
  return pages;
}

std::string detokenise_wikitext(std::string page) {
  using Rule = std::pair<std::string_view, std::string_view>;
  constexpr Rule kBefore[] = {{"s '", "s'"}, {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."},
                              {" : ", ": "}, {" ; ", "; "},  {" . ", ". "},  {" ! ", "! "},
                              {" ? ", "? "}, {" , ", ", "}};
  constexpr Rule kAfter[] = {{"= = = =", "===="},    {"= = =", "==="}, {"= =", "=="},
                             {" \u00B0 ", "\u00B0"}, {" \n", "\n"},    {"\n ", "\n"},
                             {" N ", " 1 "},         {" 's", "'s"}};
  constexpr std::pair<char, char> kMarks[] = {
      {'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}};
  for (const auto& [from, to] : kBefore) replace_each(page, from, to);
  for (const auto& [open, close] : kMarks) trim_inside(page, open, close);
  for (const auto& [from, to] : kAfter) replace_each(page, from, to);
  return page;
}

int64_t count_words(std::string_view text) {
  int64_t runs = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const text::CodePoint point = text::code_point_at(text, at);
    const bool space = is_space(point.value);
    if (space && !inside) ++runs;
    inside = space;
    at += point.bytes;
  }
  return runs + 1;
}

}  // namespace prunus
