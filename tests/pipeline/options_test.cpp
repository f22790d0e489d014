#include "prunus/pipeline/options.h"

#include <cmath>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::options_test {
namespace {

void expect_range(const LayerRange& range, int64_t begin, int64_t end) {
  EXPECT_EQ(range.begin, begin);
  EXPECT_EQ(range.end, end);
}

void expect_refused(const PruneOptions& options, const std::string& part, int64_t layers = 32) {
  expect_error(ErrorKind::InvalidArgument, part, [&] { resolve(options, layers); });
}

TEST(Resolve, FillsInWhatWasNotGiven) {
  const PruneRecipe options = resolve({}, 7);
  EXPECT_EQ(options.attn_ratio, 0.25);
  EXPECT_EQ(options.ffn_ratio, 0.25);
  EXPECT_EQ(options.reduction, "sum");
  expect_range(options.attn_layers, 0, 7);
  expect_range(options.ffn_layers, 0, 7);
}

TEST(Resolve, LetsThePartsOverrideTheWhole) {
  const PruneRecipe options = resolve({.ratio = 0.5,
                                       .ffn_ratio = 0.75,
                                       .layers = LayerRange{2, 5},
                                       .attn_layers = LayerRange{3, 4}},
                                      7);
  EXPECT_EQ(options.attn_ratio, 0.5);
  EXPECT_EQ(options.ffn_ratio, 0.75);
  expect_range(options.attn_layers, 3, 4);
  expect_range(options.ffn_layers, 2, 5);
}

TEST(Resolve, SaysHowManyWeightsAreZero) {
  EXPECT_EQ(resolve({.method = "l1", .structure = Structure::Weight}, 7).sparsity, 0.5);
  EXPECT_EQ(resolve({.method = "l1", .structure = Structure::Weight, .sparsity = 0.7}, 7).sparsity,
            0.7);
  EXPECT_EQ(resolve({.method = "l1", .structure = Structure::Weight, .pattern = "1:4"}, 7).sparsity,
            0.75);
  EXPECT_EQ(resolve({.method = "l2", .structure = Structure::Weight}, 7).sparsity, 0.5);
  EXPECT_EQ(resolve({.method = "l2"}, 7).sparsity, 0);
  expect_range(
      resolve({.method = "l1", .structure = Structure::Weight, .layers = LayerRange{1, 3}}, 7)
          .attn_layers,
      1, 3);
}

TEST(Resolve, RefusesZerosWhereUnitsAreRemovedAndTheOtherWayRound) {
  expect_refused({.sparsity = 0.5}, "they need --structure weight");
  expect_refused({.pattern = "2:4"}, "they need --structure weight");
  expect_refused({.method = "l1", .structure = Structure::Weight, .ratio = 0.5},
                 "give --sparsity or --pattern");
  expect_refused(
      {.method = "l1", .structure = Structure::Weight, .sparsity = 0.5, .pattern = "2:4"},
      "drop --sparsity");
  expect_refused({.method = "l1", .structure = Structure::Weight, .sparsity = 1},
                 "--sparsity 1 is not in [0, 1)");
  expect_refused({.method = "l1", .structure = Structure::Weight, .pattern = "4:2"},
                 "expected row, layer, block:COLUMNS, or N:M");
  expect_refused({.method = "l1", .structure = Structure::Weight, .compat = "llm-pruner"},
                 "--compat");
  expect_refused({.method = "random", .structure = Structure::Weight}, "methods that can");
}

TEST(Resolve, KnowsThePapersPresets) {
  const PruneRecipe twenty = resolve({.preset = "llm-pruner-20"}, 32);
  EXPECT_EQ(twenty.ratio, 0.25);
  EXPECT_EQ(twenty.attn_ratio, 0.25);
  expect_range(twenty.attn_layers, 4, 30);
  expect_range(twenty.ffn_layers, 4, 30);
  const PruneRecipe fifty = resolve({.preset = "llm-pruner-50"}, 32);
  EXPECT_EQ(fifty.ffn_ratio, 0.6);
  expect_range(fifty.ffn_layers, 3, 31);
}

TEST(Resolve, RefusesAPresetOnAModelTooShortForIt) {
  expect_refused({.preset = "llm-pruner-20"}, "the model has 6", 6);
  expect_range(resolve({.preset = "llm-pruner-20"}, 7).attn_layers, 4, 5);
  expect_refused({.preset = "llm-pruner-50"}, "the first 3 and the last 1", 4);
  const PruneRecipe chosen = resolve({.preset = "llm-pruner-20", .layers = LayerRange{1, 2}}, 2);
  expect_range(chosen.attn_layers, 1, 2);
  EXPECT_EQ(chosen.ratio, 0.25);
}

TEST(Resolve, RefusesNamesItDoesNotKnow) {
  expect_refused({.method = "magic"}, "magic");
  expect_refused({.reduction = "median"}, "median");
  expect_refused({.preset = "llm-pruner-90"}, "llm-pruner-90");
}

TEST(Resolve, RefusesValuesOutOfRange) {
  expect_refused({.ratio = 1.0}, "--ratio 1 ");
  expect_refused({.ratio = -0.1}, "--ratio -0.1");
  expect_refused({.ratio = std::nan("")}, "--ratio nan");
  expect_refused({.attn_ratio = 1.5}, "--attn-ratio 1.5");
  expect_refused({.ffn_ratio = -1}, "--ffn-ratio -1");
  expect_refused({.layers = LayerRange{0, 33}}, "--layers 0:33 is not within 0:32");
  expect_refused({.layers = LayerRange{-1, 3}}, "--layers -1:3");
  expect_refused({.layers = LayerRange{3, 3}}, "--layers 3:3");
  expect_refused({.attn_layers = LayerRange{4, 2}}, "--attn-layers 4:2");
  expect_refused({.ffn_layers = LayerRange{40, 41}}, "--ffn-layers 40:41");
  expect_refused({.steps = 0}, "--steps 0");
  expect_refused({.round_to = -1}, "--round-to -1");
}

TEST(Resolve, RefusesTwoTargetsAndATargetWithTwoRatios) {
  expect_refused({.target_params = 1, .target_bytes = 1}, "exclude each other");
  expect_refused({.target_params = 1, .target_latency = 0.5}, "exclude each other");
  expect_refused({.target_latency = 0.5}, "--target-latency is met by a search");
  expect_refused({.attn_ratio = 0.5, .target_params = 1}, "drop --attn-ratio");
  expect_refused({.ffn_ratio = 0.5, .target_bytes = 1}, "drop --attn-ratio");
  EXPECT_EQ(resolve({.target_params = 5}, 32).target_params, 5);
}

TEST(Resolve, RefusesBlockOptionsForOtherStructures) {
  for (const Structure structure : {Structure::Channel, Structure::Layer}) {
    const std::optional<int64_t> keep_first =
        structure == Structure::Layer ? std::optional<int64_t>(3) : std::nullopt;
    const auto refuse = [&](PruneOptions options) {
      options.structure = structure;
      options.keep_first = keep_first;
      expect_refused(options, "are for --structure block");
    };
    refuse({.attn_ratio = 0.5});
    refuse({.ffn_ratio = 0.5});
    refuse({.layers = LayerRange{0, 1}});
    refuse({.attn_layers = LayerRange{0, 1}});
    refuse({.ffn_layers = LayerRange{0, 1}});
    refuse({.granularity = Granularity::HeadDim});
    refuse({.global = true});
    PruneOptions preset{.preset = "llm-pruner-20", .structure = structure};
    preset.keep_first = keep_first;
    expect_refused(preset, "is for --structure block");
    PruneOptions plain{.structure = structure};
    plain.keep_first = keep_first;
    EXPECT_NO_THROW(resolve(plain, 32));
  }
}

TEST(Resolve, RefusesWhatLayerWisePruningHasNoUseFor) {
  const PruneOptions good{.structure = Structure::Layer, .keep_first = 3};
  const auto refuse = [&](const std::string& part,
                          const std::function<void(PruneOptions&)>& spoil) {
    PruneOptions options = good;
    spoil(options);
    expect_refused(options, part);
  };
  refuse("needs --keep-first N or", [](PruneOptions& o) { o.keep_first.reset(); });
  refuse("one of them", [](PruneOptions& o) { o.drop_layers = {1}; });
  refuse("no target", [](PruneOptions& o) { o.target_params = 1; });
  refuse("no target", [](PruneOptions& o) { o.target_bytes = 1; });
  refuse("no target", [](PruneOptions& o) { o.steps = 2; });
  refuse("no target", [](PruneOptions& o) { o.round_to = 2; });
  refuse("no target", [](PruneOptions& o) { o.reduction = "sum"; });
  refuse("need --structure layer", [](PruneOptions& o) { o.structure = Structure::Block; });
  expect_refused({.drop_layers = {1}}, "need --structure layer");
}

TEST(Resolve, RefusesWhatTheReferenceDoesNotHave) {
  const auto refuse = [](const std::string& part, PruneOptions options) {
    options.compat = "llm-pruner";
    expect_refused(options, part);
    options.compat = "";
    EXPECT_NO_THROW(resolve(options, 32)) << part;
  };
  refuse("no --granularity", {.granularity = Granularity::QueryHead});
  refuse("no reduction `last`", {.reduction = "last"});
  refuse("no --normalize", {.global = true, .normalisation = Normalisation::Mean});
  refuse("drop one of --global and --round-to", {.global = true, .round_to = 8});
  refuse("float32", {.precision = at::kDouble});
  refuse("reduced by mean", {.method = "l1", .reduction = "sum"});
  refuse("no target", {.target_params = 1, .global = true});
  refuse("no target", {.target_bytes = 1, .global = true});
}

TEST(Resolve, ReducesMagnitudesByMeanAsTheReference) {
  EXPECT_EQ(resolve({.method = "l2", .compat = "llm-pruner"}, 4).reduction, "mean");
  EXPECT_EQ(resolve({.method = "l2"}, 4).reduction, "sum");
  EXPECT_EQ(resolve({.compat = "llm-pruner"}, 4).reduction, "sum");
  EXPECT_EQ(resolve({.method = "l1", .reduction = "mean", .compat = "llm-pruner"}, 4).reduction,
            "mean");
}

TEST(Resolve, KeepsScoresOfWholeExpertsToWholeExperts) {
  const PruneOptions good{.method = "reap", .structure = Structure::Expert};
  EXPECT_EQ(resolve(good, 4).reduction, "sum");
  const auto refuse = [&](const std::string& part,
                          const std::function<void(PruneOptions&)>& spoil) {
    PruneOptions options = good;
    spoil(options);
    expect_refused(options, part);
  };
  for (const Structure other : {Structure::Block, Structure::Channel, Structure::Layer}) {
    refuse("add --structure expert", [&](PruneOptions& o) { o.structure = other; });
  }
  refuse("drop --reduction", [](PruneOptions& o) { o.reduction = "sum"; });
  refuse("drop --compat", [](PruneOptions& o) { o.compat = "llm-pruner"; });
  refuse("no Taylor variant", [](PruneOptions& o) { o.taylor = "vectorize"; });
  refuse("--global", [](PruneOptions& o) { o.global = true; });
}

TEST(Resolve, TakesObjectivesWhereGradientsAreLookedAt) {
  EXPECT_EQ(resolve({.objective = Objective::Entropy}, 4).objective, Objective::Entropy);
  EXPECT_EQ(resolve({.taylor = "param_second", .objective = Objective::Divergence}, 4).objective,
            Objective::Divergence);
  expect_refused({.objective = Objective::Divergence}, "add --taylor param_second");
  expect_refused({.method = "l2", .objective = Objective::Entropy}, "looks at no gradients");
  expect_refused({.objective = Objective::Entropy, .compat = "llm-pruner"}, "no --objective");
}

TEST(Resolve, RefusesWhatAChoiceOfUnitsCannotKnow) {
  expect_refused({.method = "osscar", .global = true}, "how many go must be known before");
  expect_refused({.method = "osscar", .structure = Structure::Channel}, "for --structure block");
  EXPECT_NO_THROW(resolve({.method = "osscar", .budget = "two_stage"}, 4));
}

TEST(Resolve, ScalesTheStreamOfLayersAlone) {
  expect_refused({.method = "l2", .solver = "prune-comp"}, "it is for --structure layer");
  EXPECT_NO_THROW(resolve({.method = "shortgpt", .solver = "prune-comp"}, 4));
}

TEST(Resolve, RefusesANormalisationThatNothingUses) {
  expect_refused({.normalisation = Normalisation::Max}, "needs --global");
}

TEST(Resolve, RefusesHeadChannelsOfSomeLayersOnly) {
  const auto head_dim = Granularity::HeadDim;
  expect_refused({.granularity = head_dim, .layers = LayerRange{1, 32}}, "every layer alike");
  expect_refused({.granularity = head_dim, .attn_layers = LayerRange{0, 31}}, "every layer alike");
  expect_refused({.granularity = head_dim, .global = true}, "every layer alike");
  // FFN channels may go from fewer layers.
  EXPECT_NO_THROW(resolve({.granularity = head_dim, .ffn_layers = LayerRange{1, 2}}, 32));
}

// What is absent is the method's to say; what is given overrides it.
TEST(Resolve, TakesWhatIsAbsentFromTheMethod) {
  const PruneRecipe reap = resolve({.method = "reap"}, 4);
  EXPECT_EQ(reap.structure, Structure::Expert);
  EXPECT_EQ(reap.members, Members::Router);
  const PruneRecipe paper = resolve({.method = "llm-pruner-50", .ffn_ratio = 0.3}, 32);
  EXPECT_EQ(paper.attn_ratio, 0.6);
  EXPECT_EQ(paper.ffn_ratio, 0.3);
  expect_range(paper.attn_layers, 3, 31);
  EXPECT_EQ(paper.name, "llm-pruner-50");
  const PruneRecipe preset = resolve({.preset = "llm-pruner-50", .ratio = 0.1}, 32);
  EXPECT_EQ(preset.attn_ratio, 0.1);
  EXPECT_EQ(preset.name, "llm-pruner");
  EXPECT_EQ(resolve({.global = true}, 4).budget->name, "global");
  EXPECT_EQ(resolve({.budget = "global"}, 4).budget->name, "global");
  EXPECT_EQ(resolve({.global = true, .compat = "llm-pruner"}, 4).budget->name, "llm_pruner_global");
  expect_refused({.global = true, .budget = "uniform"}, "drop one of the two");
  expect_refused({.budget = "fair"}, "--budget");
}

}  // namespace
}  // namespace prunus::test::options_test
