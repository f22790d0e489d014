// Levels and the plan that a search makes, by what the cut models have.
#include "prunus/pipeline/search.h"

#include <stdexcept>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/sub_layers.h"
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
  const int64_t norm = dense.config().hidden_size;  // goes with a part, and is not counted
  for (const PartLevels& part : parts) {
    EXPECT_TRUE(part.levels.back().entries.empty());
    for (const PartLevel& level : part.levels) {
      const Model cut =
          result_of(dense, plan_of_levels(dense, {{part.layer, part.part, {level}}}, {0}), {});
      EXPECT_EQ(dense.parameters() - cut.parameters(),
                part.levels.back().parameters - level.parameters + (level.dropped() ? norm : 0));
    }
  }
}

// Of a layer at least, some of each kind of part stays.
TEST(Levels, DropPartsOfEveryLayerButTheFirst) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 24, .layers = 3});
  const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)}};
  for (const PartLevels& part : levels_of(dense, recipe_of(dense), rows, nullptr)) {
    EXPECT_EQ(part.levels.front().dropped(), part.layer > 0);
    EXPECT_FALSE(part.levels.at(1).dropped());
  }
}

TEST(Levels, OfAModelWithoutItsFirstAttentionLeaveTheNextOne) {
  const Model dense =
      without(tiny_model({.kv_heads = 2, .ffn = 24, .layers = 3}), SubLayer::Attention, 0);
  const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)}};
  for (const PartLevels& part : levels_of(dense, recipe_of(dense), rows, nullptr)) {
    const int first = part.part == Part::Attention ? 1 : 0;
    EXPECT_EQ(part.levels.front().dropped(), part.layer > first);
  }
}

// A layer that does nothing costs nothing: it goes first.
TEST(SearchPlan, DropsPartsThatDoNothing) {
  const Model model = silenced(
      silenced(tiny_model({.kv_heads = 2, .ffn = 48, .layers = 3}), SubLayer::Attention, 1),
      SubLayer::FeedForward, 2);
  const std::vector<TokenBatch> rows{{random_ids(model, 8, 12, 5)}};
  const PlanContext context{
      .calibration = [&](int64_t) { return rows; },
      .held_out = [&] { return std::vector<TokenBatch>{{random_ids(model, 4, 12, 9)}}; }};
  const Model cut = result_of(model, search_plan(model, context, recipe_of(model, 0.4)).plan, {});
  EXPECT_FALSE(cut.config().layers[1].has(SubLayer::Attention));
  EXPECT_FALSE(cut.config().layers[2].has(SubLayer::FeedForward));
  EXPECT_TRUE(cut.config().layers[0].has(SubLayer::FeedForward));
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

TEST(SearchPlan, InBfloat16FindsNearlyTheSameDivergence) {
  const Model model = tiny_model({.kv_heads = 2, .ffn = 48, .layers = 3});
  const PlanContext context{
      .calibration =
          [&](int64_t) { return std::vector<TokenBatch>{{random_ids(model, 8, 12, 5)}}; },
      .held_out = [&] { return std::vector<TokenBatch>{{random_ids(model, 4, 12, 9)}}; }};
  PruneRecipe recipe = recipe_of(model);
  const auto table = [&] { return Json::parse(search_plan(model, context, recipe).search); };
  const Json exact = table();
  recipe.precision = at::kBFloat16;
  const Json rounded = table();
  for (size_t p = 0; p < exact.at("parts").size(); ++p) {
    const Json& levels = exact.at("parts")[p].at("levels");
    for (size_t i = 0; i < levels.size(); ++i) {
      if (levels[i].at("kl").is_null()) continue;
      const double kl = levels[i].at("kl");
      EXPECT_NEAR(rounded.at("parts")[p].at("levels")[i].at("kl").get<double>(), kl,
                  0.1 * kl + 0.005);
    }
  }
  EXPECT_NE(exact.at("divergence"), rounded.at("divergence"));
}

// Interrupted behind each of its walks, it comes to the same plan without measuring any twice.
TEST(SearchPlan, GoesOnBehindItsLastWalk) {
  const Model model = tiny_model({.kv_heads = 2, .ffn = 48, .layers = 3});
  const PruneRecipe recipe = recipe_of(model);
  std::vector<std::string> kept;
  size_t allowed = 0;
  const auto context = [&] {
    return PlanContext{
        .calibration =
            [&](int64_t) { return std::vector<TokenBatch>{{random_ids(model, 8, 12, 5)}}; },
        .held_out = [&] { return std::vector<TokenBatch>{{random_ids(model, 4, 12, 9)}}; },
        .measured = [&](int64_t walk) -> std::optional<std::string> {
          if (walk < static_cast<int64_t>(kept.size())) return kept[static_cast<size_t>(walk)];
          return std::nullopt;
        },
        .keep_measured =
            [&](int64_t walk, const std::string& json) {
              EXPECT_EQ(walk, static_cast<int64_t>(kept.size()));
              kept.push_back(json);
              if (kept.size() == allowed) throw std::runtime_error("interrupted");
            }};
  };
  const PlanResult whole = search_plan(model, context(), recipe);
  const std::vector<std::string> walks = kept;
  ASSERT_EQ(walks.size(), 3U);
  kept.clear();
  for (allowed = 1; allowed <= walks.size(); ++allowed) {
    EXPECT_THROW(search_plan(model, context(), recipe), std::runtime_error);
  }
  const PlanResult resumed = search_plan(model, context(), recipe);
  EXPECT_EQ(kept, walks);
  EXPECT_EQ(to_json(resumed.plan), to_json(whole.plan));
  EXPECT_EQ(resumed.search, whole.search);
}

TEST(SearchPlan, RefusesAWalkOfOtherParts) {
  const Model model = tiny_model({.kv_heads = 2, .ffn = 48, .layers = 3});
  const auto resume_with = [&](const std::string& walk) {
    const PlanContext context{
        .calibration =
            [&](int64_t) { return std::vector<TokenBatch>{{random_ids(model, 8, 12, 5)}}; },
        .held_out = [&] { return std::vector<TokenBatch>{{random_ids(model, 4, 12, 9)}}; },
        .measured = [&](int64_t) { return std::optional<std::string>(walk); }};
    search_plan(model, context, recipe_of(model));
  };
  expect_error(ErrorKind::Corrupt, "is of other parts",
               [&] { resume_with(R"({"base": 0, "kl": [[1, 2]], "scores": []})"); });
  expect_error(ErrorKind::Corrupt, "1 scores for 48 units", [&] {
    resume_with(R"({"base": 0, "kl": [], "scores": [{"layer": 1, "axis": "ffn", "scores": [1]}]})");
  });
  expect_error(ErrorKind::Corrupt, "walk 0 of the search", [&] { resume_with("{"); });
}

// Nothing is scored: there is no text.
TEST(Levels, SayWhatIsOutOfReachBeforeAnythingIsScored) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 24});
  expect_error(ErrorKind::InvalidArgument, "the target is out of reach",
               [&] { levels_of(dense, recipe_of(dense, 0.99), {}, nullptr); });
}

}  // namespace
}  // namespace prunus::test::search_test
