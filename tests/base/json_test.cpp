#include "prunus/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

namespace prunus {
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

TEST(Json, AcceptsTheSameKeyInDifferentObjectsAndModerateNesting) {
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "test"));
  EXPECT_NO_THROW(parse_json(nested(64), "test"));
}

}  // namespace
}  // namespace prunus
