#include "prunus/text/python_regex.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::python_regex_test {
namespace {

using text::PythonRegex;

PythonRegex regex(const std::string& pattern) { return PythonRegex(pattern, "field"); }

TEST(PythonRegex, FullMatchReachesBothEnds) {
  const PythonRegex one = regex(R"(.*\.(q|v)_proj)");
  EXPECT_TRUE(one.matches_all("layers.0.q_proj"));
  EXPECT_FALSE(one.matches_all("layers.0.q_proj.base"));
  EXPECT_FALSE(one.matches_all("q_proj"));
  EXPECT_TRUE(regex("a|ab").matches_all("ab"));  // the first branch alone would end too early
}

TEST(PythonRegex, MatchStartsAtTheBeginning) {
  EXPECT_TRUE(regex("ab").matches_begin("abc"));
  EXPECT_FALSE(regex("b").matches_begin("abc"));
  EXPECT_TRUE(regex(R"((.*\.)?(o_proj)$)").matches_begin("layers.0.o_proj"));
  EXPECT_FALSE(regex(R"((.*\.)?(^o_proj)$)").matches_begin("layers.0.o_proj"));
}

TEST(PythonRegex, GroupsAreFoundByName) {
  const PythonRegex one = regex(R"(.*?\.[^.]*\.(?P<idx>\d+)\.)");
  EXPECT_EQ(one.group("model.layers.12.experts.3.w1", "idx"), "12");
  EXPECT_EQ(one.group("lm_head", "idx"), std::nullopt);
  EXPECT_EQ(one.group("model.layers.12.mlp", "other"), std::nullopt);
}

TEST(PythonRegex, UnderstandsWhatBothLibrariesDo) {
  EXPECT_TRUE(regex(R"((?!.*vision).*q_proj\Z)").matches_all("layers.q_proj"));
  EXPECT_FALSE(regex(R"((?!.*vision).*q_proj)").matches_all("vision.q_proj"));
  EXPECT_TRUE(regex(R"([]a]{2}\b)").matches_all("]a"));
  EXPECT_TRUE(regex(R"((a)\1)").matches_all("aa"));
}

TEST(PythonRegex, RefusesWhatTheyReadDifferently) {
  for (const char* pattern : {R"(\Qa\E)", R"(\h)", R"(\K)", "a{,2}", "(*UTF)a", "(?R)", "(?|a|b)",
                              "[[:alpha:]]", "a\\", "(a", "[a", "*a", R"(\p{L})"}) {
    expect_error(ErrorKind::Unsupported, "field", [&] { regex(pattern); });
  }
}

TEST(PythonRegex, TooMuchWorkIsAnErrorAndNotADelay) {
  expect_error(ErrorKind::Unsupported, "too much work",
               [] { regex("(a*)*(a*)*(a*)*[bc]").matches_all(std::string(200, 'a')); });
}

}  // namespace
}  // namespace prunus::test::python_regex_test
