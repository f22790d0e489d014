#include "prunus/base/option.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/named.h"

#include "base/pie.h"
#include "support/expect_error.h"

namespace prunus::test::option_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<BoundOption> bound(Pie& pie) { return bind(pie_table, pie); }

const BoundOption& row(const std::vector<BoundOption>& options, std::string_view key) {
  for (const BoundOption& option : options) {
    if (option.info->key == key) return option;
  }
  throw std::runtime_error("no such row");
}

Given given(std::initializer_list<std::pair<const char*, std::vector<std::string>>> values) {
  Given all;
  for (const auto& [key, texts] : values) all.add({key, texts, std::string("--") + key});
  return all;
}

Pie filled(const Given& values) {
  Pie pie = pie_table.fresh();
  fill(pie_table, pie, values);
  return pie;
}

TEST(Option, SetsEveryKindOfMember) {
  const Pie pie = filled(given({{"fruit", {"pear"}},
                                {"slices", {"12"}},
                                {"sugar", {"0.1"}},
                                {"heat", {"200"}},
                                {"salt", {"0.25"}},
                                {"seed", {"18446744073709551615"}},
                                {"cream", {"true"}},
                                {"cold", {"true"}},
                                {"note", {"for two"}},
                                {"sizes", {"3", "4"}},
                                {"guests", {"Ann", "Bob"}}}));
  EXPECT_EQ(pie.fruit, Fruit::Pear);
  EXPECT_EQ(pie.slices, 12);
  EXPECT_EQ(pie.inside.sugar, 0.1);
  EXPECT_EQ(pie.heat, 200);
  EXPECT_EQ(pie.salt, 0.25);
  EXPECT_EQ(pie.seed, UINT64_MAX);
  EXPECT_TRUE(pie.cream);
  EXPECT_FALSE(pie.warm);
  EXPECT_EQ(pie.note, "for two");
  EXPECT_THAT(pie.sizes, ElementsAre(3, 4));
  EXPECT_THAT(pie.guests, ElementsAre("Ann", "Bob"));
}

TEST(Option, LeavesWhatIsNotGiven) {
  const Pie pie = filled({});
  EXPECT_EQ(pie.fruit, Fruit::Plum);
  EXPECT_EQ(pie.slices, 8);
  EXPECT_FALSE(pie.salt);
  EXPECT_TRUE(pie.warm);
}

TEST(Option, RunsTheTablesOwnRulesBeforeAndAfter) {
  EXPECT_EQ(filled(given({{"slices", {"6"}}})).seed, 6U);  // settle: of the slices
  EXPECT_EQ(filled(given({{"slices", {"6"}}, {"seed", {"1"}}})).seed, 1U);
  EXPECT_EQ(filled(given({{"cream", {"true"}}})).inside.sugar, 0.75);  // prepare
  EXPECT_EQ(filled(given({{"cream", {"true"}}, {"sugar", {"0.5"}}})).inside.sugar, 0.5);
}

TEST(Option, NamesWhatIsWrongAndWhatWasExpected) {
  const std::vector<std::tuple<const char*, const char*, const char*>> cases = {
      {"slices", "0", "--slices: got '0', expected a whole number from 1 to 100"},
      {"slices", "101", "from 1 to 100"},
      {"slices", "1.5", "--slices: got '1.5', expected a whole number"},
      {"slices", "1e1", "expected a whole number"},
      {"slices", "-1", "expected a whole number"},
      {"sugar", "1", "--sugar: got '1', expected a number from 0 to 1, 1 not included"},
      {"sugar", "nan", "expected a number"},
      {"sugar", "inf", "expected a number"},
      {"sugar", "-0", "expected a number"},
      {"salt", "0", "--salt: got '0', expected a number above 0"},
      {"heat", "1099511627777", "expected a whole number from 0 to 1099511627776"},
      {"seed", "-1", "expected a whole number from 0 to 18446744073709551615"},
      {"cream", "yes", "--cream: got 'yes', expected true or false"},
      {"note", "", "--note: got nothing"},
      {"fruit", "plumm", "--fruit: 'plumm' is not known; known: plum, pear; did you mean 'plum'"},
      {"sizes", "x", "--sizes: got 'x', expected a list, each a whole number from 0"}};
  for (const auto& [key, text, part] : cases) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { filled(given({{key, {text}}})); });
  }
  expect_error(ErrorKind::InvalidArgument, "--slices: got 2 values", [] {
    filled(given({{"slices", {"1", "2"}}}));
  });
}

TEST(Option, ShowsAValueAsOnTheCommandLine) {
  Pie pie;
  const std::vector<BoundOption> options = bound(pie);
  EXPECT_EQ(text_of(row(options, "fruit")), "plum");
  EXPECT_EQ(text_of(row(options, "slices")), "8");
  EXPECT_EQ(text_of(row(options, "sugar")), "0.5");
  EXPECT_EQ(text_of(row(options, "salt")), "");
  EXPECT_EQ(text_of(row(options, "cream")), "false");
  EXPECT_EQ(text_of(row(options, "sizes")), "1,2");
  EXPECT_EQ(recipe_key(*row(options, "baked-by").info), "baked_by");
}

TEST(Option, ShowsTheIntervalOfANumber) {
  Pie pie;
  const std::vector<BoundOption> options = bound(pie);
  EXPECT_EQ(interval_of(row(options, "slices")), "[1, 100]");
  EXPECT_EQ(interval_of(row(options, "sugar")), "[0, 1)");
  EXPECT_EQ(interval_of(row(options, "salt")), "> 0");
  EXPECT_EQ(interval_of(row(options, "heat")), "");
  EXPECT_EQ(interval_of(row(options, "note")), "");
}

TEST(Option, LaterValuesOverrideAndDropWhatTheyExclude) {
  Pie pie;
  const std::vector<BoundOption> options = bound(pie);
  const Given all = override_by(given({{"slices", {"4"}}, {"sugar", {"0.1"}}, {"heat", {"9"}}}),
                                given({{"slices", {"5"}}, {"salt", {"1"}}}), options);
  EXPECT_EQ(all.text("slices"), "5");
  EXPECT_EQ(all.text("heat"), "9");
  EXPECT_FALSE(all.has("sugar"));  // salt excludes it
  EXPECT_TRUE(all.has("salt"));
  EXPECT_NO_THROW(check_exclusions(all, options));
  expect_error(ErrorKind::InvalidArgument, "--sugar: cannot be given together with --salt", [&] {
    check_exclusions(given({{"sugar", {"0.1"}}, {"salt", {"1"}}}), options);
  });
}

TEST(Option, RecordsValuesInForceUnderTheirNames) {
  Pie pie = filled(given({{"cream", {"true"}}, {"heat", {"200"}}}));
  const auto rows = recorded(pie_table, pie);
  EXPECT_EQ(options_json(rows).dump(),
            R"({"model":"","fruit":"plum","slices":8,"filling":{"sugar":0.75,"salt":null},)"
            R"("heat":200,"seed":8,"with_cream":true,"cold":false,"sizes":[1,2],"guests":[],)"
            R"("weight":1600})");
  EXPECT_EQ(identity_json(rows).dump(),
            R"({"fruit":"plum","slices":8,"filling.sugar":0.75,"filling.salt":null,"seed":8,)"
            R"("with_cream":true,"cold":false,"sizes":[1,2],"guests":[],"weight":1600})");
  pie.cream = false;  // the row's `when`
  EXPECT_FALSE(options_json(recorded(pie_table, pie)).contains("guests"));
}

TEST(Option, PartsListsOfNames) {
  EXPECT_THAT(words_of("a,b-c,d"), ElementsAre("a", "b-c", "d"));
  EXPECT_THAT(words_of(""), IsEmpty());
}

}  // namespace
}  // namespace prunus::test::option_test
