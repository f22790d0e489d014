#include "prunus/base/whole_number.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"

namespace prunus::test::whole_number_test {
namespace {

TEST(WholeNumber, TakesIntegersAlone) {
  EXPECT_EQ(whole_number(Json::parse("-3"), "x"), -3);
  EXPECT_EQ(whole_number(Json::parse("9223372036854775807"), "x"), INT64_MAX);
  for (const char* text : {"1.5", "1e300", "1.0", "9223372036854775808", "\"1\"", "true", "null"}) {
    expect_error(ErrorKind::Corrupt, "x: is ", [&] { whole_number(Json::parse(text), "x"); });
  }
}

TEST(WholeNumber, NamesTheMember) {
  const Json object = {{"a", 1}, {"b", 0.5}};
  EXPECT_EQ(whole_number(object, "a", "f"), 1);
  EXPECT_EQ(whole_number(object, "c", "f", 7), 7);
  expect_error(ErrorKind::Corrupt, "f: b: is 0.5", [&] { whole_number(object, "b", "f", 7); });
  expect_error(ErrorKind::Corrupt, "f: has no 'c'", [&] { whole_number(object, "c", "f"); });
}

}  // namespace
}  // namespace prunus::test::whole_number_test
