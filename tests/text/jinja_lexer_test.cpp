#include "prunus/text/jinja_lexer.h"

#include <gmock/gmock.h>

#include "prunus/base/error.h"

#include "support/expect_error.h"

namespace prunus::text::jinja::jinja_lexer_test {
namespace {

using test::expect_error;
using testing::ElementsAre;

// The texts of all tokens; tags and the end in their own words.
std::vector<std::string> words(std::string_view source) {
  std::vector<std::string> all;
  for (const Token& token : tokens_of(source, "t")) {
    switch (token.kind) {
      case TokenKind::BlockBegin:
        all.push_back("{%");
        break;
      case TokenKind::BlockEnd:
        all.push_back("%}");
        break;
      case TokenKind::PrintBegin:
        all.push_back("{{");
        break;
      case TokenKind::PrintEnd:
        all.push_back("}}");
        break;
      case TokenKind::End:
        break;
      default:
        all.push_back(token.text);
    }
  }
  return all;
}

TEST(JinjaLexer, CutsTextAndTags) {
  EXPECT_THAT(words("a{{ b.c[1] }}d"),
              ElementsAre("a", "{{", "b", ".", "c", "[", "1", "]", "}}", "d"));
  EXPECT_THAT(words("{% if x >= 1.5e3 %}"), ElementsAre("{%", "if", "x", ">=", "1.5e3", "%}"));
  EXPECT_THAT(words("{ a } {"), ElementsAre("{ a } {"));
}

// A brace inside of a tag is not its end.
TEST(JinjaLexer, KnowsBracketsInsideOfTags) {
  EXPECT_THAT(words("{{ {'a': {'b': 1}} }}"),
              ElementsAre("{{", "{", "a", ":", "{", "b", ":", "1", "}", "}", "}}"));
  EXPECT_THAT(words("{{ '}}' }}"), ElementsAre("{{", "}}", "}}"));
}

TEST(JinjaLexer, TakesWhiteSpaceAsTheSignsAndTheSettingsSay) {
  EXPECT_THAT(words("a  {%- x -%}  b"), ElementsAre("a", "{%", "x", "%}", "b"));
  EXPECT_THAT(words("a\n  {% x %}\nb"), ElementsAre("a\n", "{%", "x", "%}", "b"));
  EXPECT_THAT(words("a\n  {%+ x +%}\nb"), ElementsAre("a\n  ", "{%", "x", "%}", "\nb"));
  EXPECT_THAT(words("a {# gone #}\n b"), ElementsAre("a ", " b"));
  EXPECT_THAT(words("{% raw %}{{ a }}{% endraw %}"), ElementsAre("{{ a }}"));
}

TEST(JinjaLexer, ReadsEscapes) {
  EXPECT_THAT(words(R"({{ "a\n\x41\u00e9\U0001F333\d\"" }})"),
              ElementsAre("{{", "a\nAé🌳\\d\"", "}}"));
}

TEST(JinjaLexer, NamesThePlaceOfEachToken) {
  const auto tokens = tokens_of("ab\n {{ c }}", "t");
  EXPECT_EQ(at_place("t", tokens[2].place), "t: line 2, column 5");
}

TEST(JinjaLexer, RefusesWhatHasNoEnd) {
  const auto refuses = [](std::string_view source, const std::string& part) {
    expect_error(ErrorKind::Corrupt, part, [&] { tokens_of(source, "t"); });
  };
  refuses("{{ a", "line 1, column 3: the tag has no end");
  refuses("{# a", "the comment has no end");
  refuses("{% raw %}{{", "the raw block has no end");
  refuses("{{ 'a }}", "the string has no end");
  refuses("{{ 1a }}", "not a number");
  refuses("{{ a ) }}", "closes nothing");
  refuses("{{ a $ }}", "'$' is not known");
  refuses("{{ '\\ud800' }}", "names no character");
  refuses("\xff", "not valid UTF-8 at byte 0");
  refuses(std::string((1 << 20) + 1, 'a'), "expected at most");
}

}  // namespace
}  // namespace prunus::text::jinja::jinja_lexer_test
