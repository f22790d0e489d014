// What levels take of a search's budget, against the cut models themselves.
#include "prunus/pipeline/level_budget.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/pipeline/search.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::level_budget_test {
namespace {

struct Levels {
  Model model;
  PruneRecipe recipe;
  std::vector<PartLevels> parts;

  explicit Levels(const PruneOptions& options, const TinySizes& sizes = {.kv_heads = 2, .ffn = 48})
      : model(tiny_model(sizes)),
        recipe(resolve(options, model.layer_count())),
        parts(levels_of(model, recipe, {{random_ids(model, 8, 12, 5)}}, nullptr)) {}
};

TEST(LevelBudget, CountsBytesAsTheCutModelsHaveThem) {
  const Levels of({.method = "prunus", .target_bytes = int64_t{1} << 40});
  const auto budget = level_budget(of.model, of.recipe, of.parts);
  for (size_t p = 0; p < of.parts.size(); ++p) {
    const PartLevels& part = of.parts[p];
    for (size_t i = 0; i < part.levels.size(); ++i) {
      const Plan plan = plan_of_levels(of.model, {{part.layer, part.part, {part.levels[i]}}}, {0});
      // A dropped part takes its norm along, which is not counted.
      const int64_t norm = part.levels[i].dropped() ? 4 * of.model.config().hidden_size : 0;
      EXPECT_EQ(of.model.bytes() - result_of(of.model, plan, {}).bytes(),
                budget->weight(p, part.whole()) - budget->weight(p, i) + norm);
    }
  }
  EXPECT_EQ(budget->adjust({}), false);
  EXPECT_TRUE(budget->json().is_null());
}

// Wide enough for time to be a matter of size.
TEST(LevelBudget, TimeFollowsTheSizeOfTheParts) {
  const Levels of({.method = "prunus", .target_latency = 0.7, .latency_of = LatencyOf::Prefill},
                  {.hidden = 64, .head_dim = 16, .ffn = 3072, .layers = 3});
  const auto budget = level_budget(of.model, of.recipe, of.parts);
  int64_t whole = 0;
  for (size_t p = 0; p < of.parts.size(); ++p) {
    for (size_t i = 1; i < of.parts[p].levels.size(); ++i) {
      EXPECT_GE(budget->weight(p, i), budget->weight(p, i - 1));
    }
    whole += budget->weight(p, of.parts[p].whole());
  }
  EXPECT_GT(whole, budget->capacity());
  EXPECT_GT(budget->capacity(), 0);
  // A choice that leaves all as it is takes all the time: less is allowed from then on.
  std::vector<size_t> levels;
  for (const PartLevels& part : of.parts) levels.push_back(part.whole());
  EXPECT_TRUE(budget->adjust(levels));
  EXPECT_LT(budget->capacity(), whole);
  EXPECT_NEAR(budget->json().at("measured").get<double>(), 1, 0.3);
  EXPECT_FALSE(budget->adjust(levels));
}

TEST(LevelBudget, SaysWhatTimeIsOutOfReach) {
  const Levels of({.method = "prunus", .target_latency = 0.01});
  expect_error(ErrorKind::InvalidArgument, "is out of reach",
               [&] { level_budget(of.model, of.recipe, of.parts); });
}

}  // namespace
}  // namespace prunus::test::level_budget_test
