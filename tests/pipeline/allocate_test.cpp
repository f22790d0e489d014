#include "prunus/pipeline/allocate.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/graph/shrink.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::allocate_test {
namespace {

using testing::Each;
using testing::ElementsAre;

// The sets that the options cut, with scores that are all different: unit u of set s costs
// (7·u + 3·s) mod 31 + u/100.
std::vector<ScoredSet> scored_sets(const Model& model, const PruneRecipe& options) {
  std::vector<ScoredSet> sets;
  for (GroupSet& set : select_sets(model, options)) {
    const auto s = static_cast<int64_t>(sets.size());
    ScoredSet scored{set};
    for (int64_t u = 0; u < set.units; ++u) {
      scored.scores.push_back(static_cast<double>((7 * u + 3 * s) % 31) +
                              static_cast<double>(u) / 100);
    }
    sets.push_back(std::move(scored));
  }
  return sets;
}

// Kept units of each set, per share.
std::vector<int64_t> kept(const Model& model, const PruneOptions& given, double fraction = 1.0) {
  const PruneRecipe options = resolve(given, model.layer_count());
  const std::vector<ScoredSet> sets = scored_sets(model, options);
  std::vector<int64_t> counts = allocate(sets, options, fraction);
  for (size_t i = 0; i < sets.size(); ++i) counts[i] = sets[i].set.units_per_share() - counts[i];
  return counts;
}

std::vector<std::string> names(const Model& model, const PruneOptions& options) {
  std::vector<std::string> all;
  for (const GroupSet& set : select_sets(model, resolve(options, model.layer_count()))) {
    all.push_back(set.name());
  }
  return all;
}

TEST(SelectSets, TakesWhatTheOptionsNameInTheirLayers) {
  const Model model = tiny_model({.kv_heads = 2, .layers = 3});
  EXPECT_THAT(names(model, {.attn_layers = LayerRange{1, 2}, .ffn_layers = LayerRange{0, 2}}),
              ElementsAre("layers.0.ffn", "layers.1.kv_group", "layers.1.ffn"));
  EXPECT_THAT(names(model, {.granularity = Granularity::QueryHead, .layers = LayerRange{2, 3}}),
              ElementsAre("layers.2.query_head", "layers.2.ffn"));
  EXPECT_THAT(
      names(model, {.granularity = Granularity::HeadDim, .ffn_layers = LayerRange{0, 1}}),
      ElementsAre("layers.0.rope_pair", "layers.0.value_dim", "layers.0.ffn", "layers.1.rope_pair",
                  "layers.1.value_dim", "layers.2.rope_pair", "layers.2.value_dim"));
  EXPECT_THAT(names(model, {.structure = Structure::Channel}), ElementsAre("hidden"));
}

TEST(SelectSets, RefusesQueryHeadsWhereEachHasItsOwnKey) {
  const Model model = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "every KV group has one query head",
               [&] { names(model, {.granularity = Granularity::QueryHead}); });
}

TEST(SelectSets, RefusesExpertsWhereThereAreNone) {
  const Model model = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "'llama' has no experts; it is for mixtures",
               [&] { names(model, {.structure = Structure::Expert}); });
}

// Heads of four channels, four of them; twelve FFN channels.
TEST(Allocate, RoundsKeptSlicesUpToAMultiple) {
  const Model model = tiny_model({.layers = 1});
  EXPECT_THAT(kept(model, {.ratio = 0.4}), ElementsAre(3, 7));  // 16 → 9 slices; 12 → 7
  EXPECT_THAT(kept(model, {.ratio = 0.4, .round_to = 4}), ElementsAre(3, 8));
  EXPECT_THAT(kept(model, {.ratio = 0.4, .round_to = 8}), ElementsAre(4, 8));  // pairs of heads
  EXPECT_THAT(kept(model, {.ratio = 0.5, .round_to = 8}), ElementsAre(2, 8));
  EXPECT_THAT(kept(model, {.ratio = 0.4, .round_to = 5}), ElementsAre(4, 10));  // 5 heads at least
  EXPECT_THAT(kept(model, {.ratio = 0.4, .round_to = 64}), ElementsAre(4, 12));
}

// Four experts of twelve channels, 24 hidden ones, in FP32: 16 bytes are four of them.
TEST(Allocate, KeepsRowsOfWhole16BytesInMixturesUnlessItIsTold) {
  const Model model = open_model(golden_dir("qwen2_moe"));
  const auto widths = [&](int64_t round_to) {
    const PruneRecipe options = resolve({.ratio = 0.45, .round_to = round_to}, model.layer_count());
    const std::vector<ScoredSet> sets = scored_sets(model, options);
    const std::vector<int64_t> counts = allocate(sets, options, 1.0);
    std::vector<int64_t> left;
    for (size_t i = 0; i < sets.size(); ++i) {
      const GroupSet& set = sets[i].set;
      if (set.label == AxisLabel::Ffn) left.push_back(set.units_per_share() - counts[i]);
    }
    return left;
  };
  EXPECT_THAT(widths(0), ElementsAre(8, 8));  // 12 · 0.55 → 6, up to a multiple of 4
  EXPECT_THAT(widths(1), ElementsAre(6, 6));
  const auto channel = Structure::Channel;
  EXPECT_THAT(kept(model, {.structure = channel, .ratio = 0.4}), ElementsAre(16));  // 14.4
  EXPECT_THAT(kept(model, {.structure = channel, .ratio = 0.4, .round_to = 1}), ElementsAre(14));
}

TEST(WarnOfRounding, SpeaksWhereStockKernelsWouldRefuseTheRows) {
  const auto said = [](const Model& model, int64_t round_to) {
    const PruneRecipe options = resolve({.round_to = round_to}, model.layer_count());
    const std::vector<GroupSet> sets = select_sets(model, options);
    testing::internal::CaptureStderr();
    warn_of_rounding(sets, options);
    return testing::internal::GetCapturedStderr();
  };
  const Model mixture = open_model(golden_dir("qwen2_moe"));
  EXPECT_THAT(said(mixture, 6), testing::HasSubstr("--round-to 4 or none avoids it"));
  EXPECT_EQ(said(mixture, 8), "");
  EXPECT_EQ(said(mixture, 0), "");
  EXPECT_EQ(said(tiny_model({}), 6), "");
}

TEST(Allocate, RoundsAsTheReferenceUnderCompat) {
  const Model model = tiny_model({.layers = 1});
  // The slices removed are rounded down: 7 → 4 (one head), 5 → 4.
  EXPECT_THAT(kept(model, {.ratio = 0.4, .round_to = 4, .compat = "llm-pruner"}),
              ElementsAre(3, 8));
  // 6 → 5 (one head); 4 → 0.
  EXPECT_THAT(
      kept(model, {.ratio = 0.375, .ffn_ratio = 0.3, .round_to = 5, .compat = "llm-pruner"}),
      ElementsAre(3, 12));
}

TEST(Allocate, RoundsHeadChannelsInPairsAndValuesAlike) {
  const Model model = tiny_model({.head_dim = 16, .q_heads = 2, .kv_heads = 1, .layers = 1});
  const auto head_dim = Granularity::HeadDim;
  // Eight pairs: pairs, values, FFN channels.
  EXPECT_THAT(kept(model, {.granularity = head_dim, .ratio = 0.375}), ElementsAre(5, 10, 7));
  EXPECT_THAT(kept(model, {.granularity = head_dim, .ratio = 0.375, .round_to = 4}),
              ElementsAre(6, 12, 8));
  EXPECT_THAT(kept(model, {.granularity = head_dim, .ratio = 0.375, .round_to = 8}),
              ElementsAre(8, 16, 8));
  // 8 − trunc(8·0.7): three pairs, where sixteen values alone would lose five.
  EXPECT_THAT(kept(model, {.granularity = head_dim, .attn_ratio = 0.3, .ffn_ratio = 0.0}),
              ElementsAre(5, 10, 12));
}

TEST(Allocate, TakesAFractionOfTheRatioInAStep) {
  const Model model = tiny_model({.layers = 1});
  EXPECT_THAT(kept(model, {.ratio = 0.5}, 0.5), ElementsAre(3, 9));
  EXPECT_THAT(kept(model, {.attn_ratio = 0.0, .ffn_ratio = 0.5}, 0.5), ElementsAre(4, 9));
}

TEST(Allocate, RefusesToEmptyASetUnlessTheReferenceWouldLeaveItWhole) {
  const Model model = tiny_model({.layers = 1});
  // 12·0.05 and 16·0.05 channels are less than one.
  expect_error(ErrorKind::InvalidArgument, "layers.0.kv_group: ratio 0.95 would remove all 4 units",
               [&] { kept(model, {.ratio = 0.95}); });
  expect_error(ErrorKind::InvalidArgument, "layers.0.ffn: ratio 0.95 would remove all 12 units",
               [&] { kept(model, {.attn_ratio = 0.5, .ffn_ratio = 0.95}); });
  EXPECT_THAT(kept(model, {.attn_ratio = 0.5, .ffn_ratio = 0.95, .compat = "llm-pruner"}),
              ElementsAre(2, 12));
  EXPECT_THAT(kept(model, {.ratio = 0.95, .global = true}), ElementsAre(1, 1));
}

int64_t size_of(const Model& model, const PruneRecipe& options) {
  return options.target_params ? model.parameters() : model.bytes();
}

Model cut(const Model& model, const std::vector<ScoredSet>& sets,
          const std::vector<int64_t>& counts) {
  std::vector<Keep> keeps;
  for (size_t i = 0; i < sets.size(); ++i) {
    keeps.push_back({sets[i].set.label, sets[i].set.layer, sets[i].keep_best(counts[i])});
  }
  return shrink(model, keeps);
}

// Solves, cuts, and looks at what is really left; then with the unit each set lost last put back.
void expect_meets_target(const Model& model, PruneOptions given, int64_t wanted, bool bytes) {
  (bytes ? given.target_bytes : given.target_params) = wanted;
  PruneRecipe options = resolve(given, model.layer_count());
  const std::vector<ScoredSet> sets = scored_sets(model, options);
  std::vector<GroupSet> plain;
  for (const ScoredSet& scored : sets) plain.push_back(scored.set);
  const Target target = target_of(model, plain, options).value();
  EXPECT_EQ(target.before, size_of(model, options));
  const double ratio = solve_ratio(target, sets, options);
  options.ratio = ratio;
  options.attn_ratio = options.ffn_ratio = ratio;
  std::vector<int64_t> counts = allocate(sets, options, 1.0);
  const int64_t left = size_of(cut(model, sets, counts), options);
  EXPECT_LE(left, wanted);
  EXPECT_EQ(left, target.before - freed(target, sets, counts));
  const double less = std::max(0.0, ratio - 2e-9) / ratio;
  // A slightly smaller ratio does not meet it.
  EXPECT_GT(target.before - freed(target, sets, allocate(sets, options, less)), wanted);
  for (size_t i = 0; i < sets.size(); ++i) {  // two value channels go with a pair
    counts[i] -= std::min<int64_t>(counts[i], sets[i].set.label == AxisLabel::ValueDim ? 2 : 1);
  }
  EXPECT_GT(size_of(cut(model, sets, counts), options), wanted) << "ratio " << ratio;
}

TEST(SolveRatio, LeavesNoMoreThanTheTargetAndHardlyLess) {
  const Model mha = tiny_model({.layers = 3});
  const Model gqa = tiny_model({.family = "qwen2", .head_dim = 8, .q_heads = 8, .kv_heads = 2});
  for (const bool global : {false, true}) {
    for (const Model* model : {&mha, &gqa}) {
      for (const double share : {0.95, 0.8, 0.7}) {
        const auto whole = static_cast<double>(model->parameters());
        const auto wanted = static_cast<int64_t>(whole * share);
        expect_meets_target(*model, {.global = global}, wanted, false);
        expect_meets_target(*model, {.layers = LayerRange{0, 2}, .global = global}, wanted, false);
        expect_meets_target(*model, {.structure = Structure::Channel}, wanted, false);
        expect_meets_target(*model, {.global = global}, 4 * wanted, true);  // FP32
      }
    }
    expect_meets_target(gqa, {.granularity = Granularity::QueryHead, .global = global},
                        gqa.parameters() * 3 / 4, false);
  }
  expect_meets_target(gqa, {.granularity = Granularity::HeadDim}, gqa.parameters() * 3 / 4, false);
}

TEST(SolveRatio, IsZeroWhereTheModelIsSmallEnoughAlready) {
  const Model model = tiny_model({});
  const PruneRecipe options = resolve({.target_params = model.parameters()}, 2);
  const std::vector<ScoredSet> sets = scored_sets(model, options);
  std::vector<GroupSet> plain;
  for (const ScoredSet& scored : sets) plain.push_back(scored.set);
  EXPECT_EQ(solve_ratio(*target_of(model, plain, options), sets, options), 0.0);
}

double solved(const Model& model, const PruneOptions& given) {
  const PruneRecipe options = resolve(given, model.layer_count());
  const std::vector<ScoredSet> sets = scored_sets(model, options);
  std::vector<GroupSet> plain;
  for (const ScoredSet& scored : sets) plain.push_back(scored.set);
  return solve_ratio(*target_of(model, plain, options), sets, options);
}

// One layer: embedding and head 2·29·16, three norms of 16; with one head of four and one FFN
// channel 4·4·16 + 3·16 are left.
TEST(SolveRatio, SaysWhatTheLeastIsWhereTheTargetIsOutOfReach) {
  const Model model = tiny_model({.layers = 1});
  const int64_t least = 2 * 29 * 16 + 3 * 16 + 4 * 4 * 16 + 3 * 16;
  for (const bool global : {false, true}) {
    const auto solve = [&](int64_t target) {
      return solved(model, {.target_params = target, .global = global});
    };
    expect_error(ErrorKind::InvalidArgument, "at least " + std::to_string(least) + " of ",
                 [&] { solve(least - 1); });
    EXPECT_LT(solve(least), 1.0);
  }
}

// With one KV head only the FFN channels can give, whatever the ratio is for heads.
TEST(SolveRatio, ReachesATargetThroughTheSetsThatCanGive) {
  const Model model = tiny_model({.kv_heads = 1, .layers = 1});
  EXPECT_NEAR(solved(model, {.target_params = model.parameters() - 3 * 3 * 16}), 2. / 12, 1e-8);
  expect_meets_target(model, {}, model.parameters() - 9 * 3 * 16, false);
}

}  // namespace
}  // namespace prunus::test::allocate_test
