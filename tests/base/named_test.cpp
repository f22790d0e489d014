#include "prunus/base/named.h"

#include <gtest/gtest.h>

namespace prunus::named_test {
namespace {

enum class Fruit { Plum, Sloe, Medlar };
constexpr std::pair<std::string_view, Fruit> kFruits[] = {{"plum", Fruit::Plum},
                                                          {"sloe", Fruit::Sloe}};

TEST(Named, GoesFromNameToValueAndBack) {
  EXPECT_EQ(parse_named(kFruits, "sloe", "--fruit"), Fruit::Sloe);
  EXPECT_EQ(name_of(kFruits, Fruit::Plum), "plum");
  EXPECT_EQ(name_of(kFruits, Fruit::Medlar), "?");
}

TEST(Named, ListsTheKnownNames) {
  try {
    parse_named(kFruits, "apple", "--fruit");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_STREQ(error.what(), "--fruit 'apple' is not known; known: plum, sloe");
  }
}

}  // namespace
}  // namespace prunus::named_test
