#include "prunus/text/text_pattern.h"

#include <utility>

#include "fixture.h"

namespace prunus::text::text_pattern_test {
namespace {

using nlohmann::json;
using Matches = std::vector<std::pair<size_t, size_t>>;

TextPattern pattern(const json& node) { return TextPattern(JsonView(node, "file: pattern")); }

Matches matches(const json& node, std::string_view text) {
  Matches found;
  for (const Span& match : pattern(node).find_all(text)) found.emplace_back(match.begin, match.end);
  return found;
}

TEST(TextPattern, FindsAStringFromLeftToRightWithoutOverlap) {
  const json node = {{"String", "aa"}};
  EXPECT_EQ(matches(node, "aaaaxaa"), (Matches{{0, 2}, {2, 4}, {5, 7}}));
  EXPECT_EQ(matches(node, "aaa"), (Matches{{0, 2}}));
  EXPECT_EQ(matches(node, ""), Matches{});
  EXPECT_EQ(matches({{"String", "."}}, "a.b"), (Matches{{1, 2}}));  // no expression
}

TEST(TextPattern, CountsBytes) {
  EXPECT_EQ(matches({{"String", "▁"}}, "é▁▁"), (Matches{{2, 5}, {5, 8}}));
  EXPECT_EQ(matches({{"Regex", "\\p{L}+"}}, "1é中 x"), (Matches{{1, 6}, {7, 8}}));
}

TEST(TextPattern, PassesOverEmptyMatchesOfAnExpression) {
  EXPECT_EQ(matches({{"Regex", "a*"}}, "baac"), (Matches{{1, 3}}));
  EXPECT_EQ(matches({{"Regex", "(?=b)"}}, "ab"), Matches{});
  EXPECT_EQ(matches({{"Regex", "\\s?[0-9]{2}"}}, "12345 678"), (Matches{{0, 2}, {2, 4}, {5, 8}}));
}

TEST(TextPattern, ReplacesEveryMatchByTheContentAsItStands) {
  EXPECT_EQ(pattern({{"String", "ab"}}).replaced("abxab", "[ab]"), "[ab]x[ab]");
  EXPECT_EQ(pattern({{"Regex", "(a)(b)"}}).replaced("abc", "\\1$2"), "\\1$2c");
  EXPECT_EQ(pattern({{"Regex", "^x"}}).replaced("xx\nxy", ""), "x\ny");
  EXPECT_EQ(pattern({{"String", "q"}}).replaced("none", "?"), "none");
}

TEST(TextPattern, RefusesWhatItCannotSearchForByName) {
  const auto refuse = [](ErrorKind kind, const json& node, const std::string& part) {
    expect_error(kind, part, [&] { pattern(node); });
  };
  refuse(ErrorKind::Unsupported, {{"String", ""}}, "file: pattern: a pattern of an empty string");
  refuse(ErrorKind::Unsupported, {{"Regex", "(a"}}, "file: pattern");
  refuse(ErrorKind::Unsupported, {{"Regex", "[a&&b]"}}, "file: pattern");
  refuse(ErrorKind::Corrupt, {{"Glob", "*"}}, "file: pattern: has no 'String'");
  refuse(ErrorKind::Corrupt, {{"Regex", 3}}, "pattern.Regex: is number, expected a string");
  refuse(ErrorKind::Corrupt, {{"String", json::array()}}, "pattern.String: is array");
  refuse(ErrorKind::Corrupt, "a", "file: pattern: is string, expected an object");
}

}  // namespace
}  // namespace prunus::text::text_pattern_test
