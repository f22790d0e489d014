#include "prunus/base/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/named.h"

#include "base/pie.h"
#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::test::recipe_test {
namespace {

using testing::ElementsAre;

constexpr std::pair<std::string_view, Fruit> kFruits[] = {{"plum", Fruit::Plum},
                                                          {"pear", Fruit::Pear}};

Fruit parse_fruit(std::string_view name) { return parse_named(kFruits, name, "--fruit"); }
std::string_view fruit_name(Fruit fruit) { return name_of(kFruits, fruit); }

constexpr Option<Pie> kOptions[] = {
    {.info = {.key = "model", .positional = "MODEL", .required = true, .recorded = Recorded::Yes},
     .member = PRUNUS_MEMBER(Pie, model)},
    {.info = {.key = "fruit", .choices = "plum,pear"},
     .member = PRUNUS_WORD(Pie, fruit, parse_fruit, fruit_name)},
    {.info = {.key = "slices", .range = {1, 100}}, .member = PRUNUS_MEMBER(Pie, slices)},
    {.info = {.key = "sugar", .range = kShare, .record = "filling.sugar"},
     .member = PRUNUS_MEMBER(Pie, inside.sugar)},
    {.info = {.key = "salt", .range = kAboveZero, .excludes = "sugar", .record = "filling.salt"},
     .member = PRUNUS_MEMBER(Pie, salt)},
    {.info = {.key = "heat", .recorded = Recorded::Progress}, .member = PRUNUS_MEMBER(Pie, heat)},
    {.info = {.key = "seed"}, .member = PRUNUS_MEMBER(Pie, seed)},
    {.info = {.key = "cream", .record = "with_cream"}, .member = PRUNUS_MEMBER(Pie, cream)},
    {.info = {.key = "cold"},
     .member = FlagMember<Pie>{+[](Pie& pie, bool on) { pie.warm = !on; },
                               +[](const Pie& pie) { return !pie.warm; }}},
    {.info = {.key = "note", .may_be_number = true, .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(Pie, note)},
    {.info = {.key = "sizes", .separator = ','}, .member = PRUNUS_MEMBER(Pie, sizes)},
    {.info = {.key = "guests"},
     .member = PRUNUS_MEMBER(Pie, guests),
     .when = +[](const Pie& pie) { return pie.cream; }},
    {.info = {.key = "baked-by", .separator = ':', .may_be_number = true, .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(Pie, baker)},
    {.info = {.key = "config", .is_recipe = true, .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(Pie, recipe)},
    {.info = {.key = "weight"},
     .resolved = +[](const Pie& pie, const Pie&, Json& value) { value = 200 * pie.slices; }}};

void prepare(Pie& pie, const Given& given) {
  if (given.on("cream")) pie.inside.sugar = 0.75;
}
void settle(Pie& pie, const Given& given) {
  if (!given.has("seed")) pie.seed = static_cast<uint64_t>(pie.slices);
}

constexpr const char* kOthers[] = {"oven"};

class Recipe : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) const {
    write_file(dir / name, text);
    return dir / name;
  }
  Pie read(const std::string& text, const std::string& name = "pie.toml") const {
    Pie pie;
    read_recipe(file(name, text), pie_table, pie);
    return pie;
  }
  void refuse(const std::string& text, const std::string& part,
              ErrorKind kind = ErrorKind::InvalidArgument) const {
    expect_error(kind, part, [&] { read(text); });
  }

  TempDir dir;
};

TEST_F(Recipe, FillsAJobFromToml) {
  const Pie pie = read(R"(# for Sunday
model = "kitchen"
fruit = "pear"
slices = 12
salt = 0.25
heat = 200
seed = 7
cream = true
cold = true
note = "for two"
sizes = [3, 4]
guests = ["Ann", "Bob"]
baked_by = [3, 31]
oven = "hot"
)");
  EXPECT_EQ(pie.model, "kitchen");
  EXPECT_EQ(pie.fruit, Fruit::Pear);
  EXPECT_EQ(pie.slices, 12);
  EXPECT_EQ(pie.salt, 0.25);
  EXPECT_EQ(pie.heat, 200);
  EXPECT_EQ(pie.seed, 7U);
  EXPECT_TRUE(pie.cream);
  EXPECT_FALSE(pie.warm);
  EXPECT_EQ(pie.note, "for two");
  EXPECT_THAT(pie.sizes, ElementsAre(3, 4));
  EXPECT_THAT(pie.guests, ElementsAre("Ann", "Bob"));
  EXPECT_EQ(pie.baker, "3:31");
  EXPECT_EQ(pie.recipe, dir / "pie.toml");
}

TEST_F(Recipe, FillsAJobFromJson) {
  const Pie pie = read(
      R"({"slices": 3, "note": 5, "guests": ["Ann"], "recover": {}, "prune": {"sugar": 0.125}})",
      "pie.json");
  EXPECT_EQ(pie.slices, 3);
  EXPECT_EQ(pie.inside.sugar, 0.125);
  EXPECT_EQ(pie.note, "5");
  EXPECT_THAT(pie.guests, ElementsAre("Ann"));
  EXPECT_EQ(pie.recipe, dir / "pie.json");
}

TEST_F(Recipe, NumbersKeepEveryBit) {
  EXPECT_EQ(read("sugar = 0.1").inside.sugar, 0.1);
  EXPECT_EQ(read("sugar = 0.30000000000000004").inside.sugar, 0.30000000000000004);
  EXPECT_EQ(read("salt = 1e-300").salt, 1e-300);
  EXPECT_EQ(read("salt = 3").salt, 3.0);
  EXPECT_EQ(read("seed = 9223372036854775807").seed, uint64_t{INT64_MAX});
}

TEST_F(Recipe, TheCommandsTableWinsAndOthersArePassedOver) {
  const Pie pie = read(R"(slices = 4
seed = 1
[prune]
slices = 5
[recover]
nonsense = [1, "a"]
)");
  EXPECT_EQ(pie.slices, 5);
  EXPECT_EQ(pie.seed, 1U);
}

TEST_F(Recipe, AnUnknownKeyIsNamedWithItsPlace) {
  refuse(
      "slices = 3\n  slice = 4\n",
      dir / "pie.toml" + ":2:3: slice: `prunus prune` has no such option; did you mean 'slices'?");
  refuse("[prune]\nraisins = true\n", "pie.toml:2:1: raisins: ");
  refuse("baked-by = \"me\"", "did you mean 'baked_by'?");
  refuse("[prunes]\nslices = 1\n", "pie.toml:1:2: prunes: ");
  refuse("config = \"other.toml\"", "config: ");  // a recipe names no recipe
  refuse("weight = 3", "weight: ");               // only recorded
}

TEST_F(Recipe, AValueOfAnotherTypeIsNamedWithItsPlace) {
  refuse("slices = \"12\"",
         "pie.toml:1:10: slices: got text, expected a whole number from 1 to 100");
  refuse("slices = 1.5", "slices: got a number with a fraction, expected a whole number");
  refuse("slices = [1, 2]", "slices: got a list, expected a whole number");
  refuse("sugar = true", "sugar: got true or false, expected a number");
  refuse("cream = 1", "cream: got a whole number, expected true or false");
  refuse("model = 3", "model: got a whole number, expected text");
  refuse("\nsizes = [1, \"two\"]", "pie.toml:2:13: sizes: got text, expected a list, each");
  refuse("sizes = []", "sizes: got an empty list");
  refuse("note = {a = 1}", "note: got a table, expected text");
  refuse("note = 2020-01-01", "note: got a value that no option has");
  refuse("prune = 3", "prune: got a whole number, expected a table");
}

TEST_F(Recipe, AValueOutOfRangeIsNamedWithItsPlace) {
  refuse("seed = 1\nslices = 0", "pie.toml:2:10: slices: got '0', expected a whole number from 1");
  refuse("slices = -1", "slices: got '-1'");
  refuse("sugar = inf", "sugar: got 'inf', expected a number from 0 to 1");
  refuse("[prune]\nfruit = \"plumm\"", "pie.toml:2:9: fruit: 'plumm' is not known; known: plum");
  refuse("model = \"\"", "model: got nothing");
  refuse("salt = 1\nsugar = 0.5", "together with");
}

TEST_F(Recipe, AFileThatIsNoRecipeIsCorrupt) {
  refuse("slices = \n", "pie.toml:1:10: no TOML: ", ErrorKind::Corrupt);
  refuse("slices = 3\nslices = 4\n", "pie.toml:2:", ErrorKind::Corrupt);
  refuse("note = \"\xFF\"", "pie.toml:1:", ErrorKind::Corrupt);
  expect_error(ErrorKind::Corrupt, "pie.json", [&] { read("[1]", "pie.json"); });
  expect_error(ErrorKind::InvalidArgument, "pie.json: slices: got text",
               [&] { read(R"({"slices": "3"})", "pie.json"); });
  Pie pie;
  expect_error(ErrorKind::NotFound, "none.toml",
               [&] { read_recipe(dir / "none.toml", pie_table, pie); });
}

TEST_F(Recipe, LeavesTheRestOfAJob) {
  Pie pie;
  pie.model = "mine";
  pie.slices = 3;
  read_recipe(file("pie.toml", "heat = 9"), pie_table, pie);
  EXPECT_EQ(pie.model, "mine");
  EXPECT_EQ(pie.slices, 3);
  EXPECT_EQ(pie.heat, 9);
}

}  // namespace

}  // namespace prunus::test::recipe_test

namespace prunus::test {

const OptionTable<Pie> pie_table{.command = "prune",
                                 .options = recipe_test::kOptions,
                                 .fresh = +[] { return Pie(); },
                                 .prepare = recipe_test::prepare,
                                 .settle = recipe_test::settle,
                                 .others = recipe_test::kOthers};

}  // namespace prunus::test
