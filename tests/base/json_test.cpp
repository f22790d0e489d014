#include "prunus/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus::json_test {
namespace {

using ::testing::HasSubstr;

std::string nested(size_t depth) {
  std::string text(depth, '[');
  text.append(depth, ']');
  return text;
}

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_json(R"( {"b": 1, "a": [true, null, "é"]} )", "test").dump(),
            R"({"b":1,"a":[true,null,"é"]})");
}

TEST(Json, RefusesWhatAnUntrustedFileMustNotContain) {
  const std::vector<std::pair<std::string, const char*>> cases{
      {"", "not valid JSON"},
      {"{", "incomplete download?"},
      {"{} x", "not valid JSON"},
      {"{\"a\": 1,}", "not valid JSON"},
      {"// comment\n{}", "not valid JSON"},
      {"\"\xff\"", "not valid JSON"},
      {"NaN", "not valid JSON"},
      {"1e999", "not valid JSON"},
      {std::string("{}\0x", 4), "zero byte"},
      {R"({"a": 1, "a": 2})", "duplicate key 'a'"},
      {R"({"x": [{"a": 1, "\u0061": 2}]})", "duplicate key 'a'"},
      {nested(65), "nested deeper than 64"},
      {std::string(1'000'000, '['), "nested deeper than 64"},
  };
  for (const auto& [text, message] : cases) {
    try {
      parse_json(text, "file.json");
      ADD_FAILURE() << "accepted: " << text.substr(0, 40);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Corrupt);
      EXPECT_THAT(error.what(), HasSubstr(message)) << text.substr(0, 40);
      EXPECT_THAT(error.what(), HasSubstr("file.json"));
    }
  }
}

std::string refusal(const std::string& text) {
  try {
    parse_json(text, "F");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Json, SaysAtWhichLineAndColumnWhatWasExpectedAndGot) {
  const std::vector<std::pair<std::string, const char*>> cases{
      {" \n", "F: is empty: not valid JSON; incomplete download?"},
      {"{\"a\": 1\n \"b\": 2}",
       "F: line 2, column 2: not valid JSON: expected ',' or '}', got \"b\""},
      {"{\n  \"k\": [1,\n 2 3]\n}\n",
       "F: line 3, column 4: not valid JSON: expected ',' or ']', got 3"},
      {"{\n  \"a\": tru\n}", "F: line 2, column 8: not valid JSON: expected a value, got tru"},
      {"[1, 2",
       "F: column 6: not valid JSON: expected ',' or ']', got the end; incomplete download?"},
      {"{\"a\" 1}", "F: column 6: not valid JSON: expected ':' behind the key, got 1"},
      {"{a: 1}", "F: column 2: not valid JSON: expected a key in double quotes, got a"},
      {"{} {}\n", "F: column 4: not valid JSON: expected nothing more, got {"},
      {"\"\xFF\"", "F: column 2: not valid JSON: expected UTF-8, got byte 0xff"},
      {"1e999", "F: not valid JSON: a number is too large for a double"}};
  for (const auto& [text, message] : cases) EXPECT_EQ(refusal(text), message) << text;
}

TEST(Json, NamesTheHabitsOfOtherFormats) {
  const std::vector<std::pair<std::string, const char*>> cases{
      {"{\"a\": 1,}", "} (no comma may stand before it)"},
      {"[1, ]", "] (no comma may stand before it)"},
      {"{'a': 1}", "' (strings have double quotes)"},
      {"// hello\n{}", "// (JSON has no comments)"},
      {"{\"a\": NaN}", "got NaN, which JSON does not have"},
      {"{\"a\": -Infinity}", "got Infinity, which JSON does not have"},
      {"{\"a\": True}", "got True, which JSON spells true"},
      {"{\"a\": None}", "got None, which JSON spells null"},
      {"\"a\tb\"", "a control character must be escaped in a string, got byte 0x09"}};
  for (const auto& [text, message] : cases) EXPECT_THAT(refusal(text), HasSubstr(message)) << text;
}

TEST(Json, SaysNothingInTheWordsOfTheParserUnderneath) {
  const std::string good = R"({"a": [1.5e3, true, null, "\u00e9\n"], "b": {"c": -2}})";
  for (size_t length = 0; length < good.size(); ++length) {
    const std::string message = refusal(good.substr(0, length));
    EXPECT_THAT(message, HasSubstr("not valid JSON")) << length;
    EXPECT_THAT(message, testing::Not(HasSubstr("json.exception"))) << length;
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char c : {'}', '"', 'x', '\x01', '\xC3', '9', '\\'}) {
      std::string bad = good;
      bad[at] = c;
      EXPECT_THAT(refusal(bad), testing::Not(HasSubstr("json.exception"))) << bad;
    }
  }
}

TEST(Json, AcceptsTheSameKeyInDifferentObjectsAndModerateNesting) {
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "test"));
  EXPECT_NO_THROW(parse_json(nested(64), "test"));
}

}  // namespace
}  // namespace prunus::json_test
