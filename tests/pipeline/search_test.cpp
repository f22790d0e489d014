// Levels and the plan that a search makes, by what the cut models have.
#include "prunus/pipeline/search.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::search_test {
namespace {

PruneRecipe recipe_of(const Model& model, double ratio = 0.5) {
  return resolve({.method = "prunus", .ratio = ratio}, model.layer_count());
}

TEST(Levels, AreNestedAndCountParameters) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 24});
  const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)}};
  const std::vector<PartLevels> parts = levels_of(dense, recipe_of(dense), rows, nullptr);
  for (const PartLevels& part : parts) {
    EXPECT_TRUE(part.levels.back().entries.empty());
    for (const PartLevel& level : part.levels) {
      Plan plan;
      plan.entries = level.entries;
      const Model cut = result_of(dense, plan, {});
      EXPECT_EQ(dense.parameters() - cut.parameters(),
                part.levels.back().parameters - level.parameters);
    }
  }
}

TEST(SearchPlan, MeetsTheTarget) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 48, .layers = 3});
  const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)}};
  const PlanContext context{
      .calibration = [&](int64_t) { return rows; },
      .held_out = [&] { return std::vector<TokenBatch>{{random_ids(dense, 4, 12, 9)}}; }};
  const PruneRecipe recipe = recipe_of(dense);
  const PlanResult result = search_plan(dense, context, recipe);
  int64_t whole = 0;
  for (const PartLevels& part : levels_of(dense, recipe, rows, nullptr)) {
    whole += part.levels.back().parameters;
  }
  const Model cut = result_of(dense, result.plan, {});
  const int64_t gone = dense.parameters() - cut.parameters();
  EXPECT_GE(gone, whole / 2);
  EXPECT_LT(gone, whole * 6 / 10);
}

// Nothing is scored: there is no text.
TEST(Levels, SayWhatIsOutOfReachBeforeAnythingIsScored) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 24});
  expect_error(ErrorKind::InvalidArgument, "the target is out of reach",
               [&] { levels_of(dense, recipe_of(dense, 0.99), {}, nullptr); });
}

}  // namespace
}  // namespace prunus::test::search_test
