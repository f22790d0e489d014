#include "prunus/pipeline/prune.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::prune_test {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

const PlanEntry& entry_of(const Plan& plan, AxisLabel label, int layer) {
  for (const PlanEntry& entry : plan.entries) {
    if (entry.keep.label == label && entry.keep.layer == layer) return entry;
  }
  throw std::logic_error("the plan has no such entry");
}

// What the plan keeps of a set.
const std::vector<int64_t>& kept(const Plan& plan, AxisLabel label, int layer) {
  return entry_of(plan, label, layer).keep.units;
}

Plan plan_of(const Model& model, const PruneOptions& options) {
  return make_plan(model, {{random_ids(model, 3, 8)}}, options).plan;
}

void expect_same_weights(const Model& a, const Model& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (size_t i = 0; i < a.tensors().size(); ++i) {
    EXPECT_EQ(a.tensors()[i].name, b.tensors()[i].name);
    EXPECT_TRUE(at::equal(a.source().read(a.tensors()[i]), b.source().read(b.tensors()[i])))
        << a.tensors()[i].name;
  }
}

// The indices in the original of what is kept of `before`'s result.
std::vector<int64_t> composed(const std::vector<int64_t>& before,
                              const std::vector<int64_t>& after) {
  std::vector<int64_t> units;
  for (const int64_t unit : after) units.push_back(before[static_cast<size_t>(unit)]);
  return units;
}

// Twelve FFN channels → 9 → 6 → 3 and four heads → 3 → 2 → 1, scored on what is left each time and
// on another text each time.
TEST(MakePlan, InStepsEqualsPlansOneAfterTheOther) {
  for (const char* family : {"llama", "qwen2"}) {
    const Model model = tiny_model({.family = family});
    const auto text = [&](int64_t step) {
      const auto seed = static_cast<uint64_t>(10 + step);
      return std::vector<TokenBatch>{{random_ids(model, 3, 8, seed)}};
    };
    const PlanResult in_steps =
        make_plan(model, {.calibration = text}, {.ratio = 0.75, .steps = 3});

    // As many of what is left: ¼ of 12, 3 of 9 (33 %: 9 − trunc(6.03)), ½ of 6.
    const double ratios[] = {0.25, 0.33, 0.5};
    Model left = model;
    double first_loss = 0;
    std::map<std::pair<AxisLabel, int>, std::vector<int64_t>> units;
    for (int64_t step = 0; step < 3; ++step) {
      const PlanResult one = make_plan(left, text(step), {.ratio = ratios[step]});
      if (step == 0) first_loss = one.calibration_loss;
      for (const PlanEntry& entry : one.plan.entries) {
        auto& so_far = units[{entry.keep.label, entry.keep.layer}];
        so_far = step == 0 ? entry.keep.units : composed(so_far, entry.keep.units);
      }
      left = shrink(left, one.plan.keeps());
    }
    EXPECT_GT(first_loss, 0);
    EXPECT_EQ(in_steps.calibration_loss, first_loss);
    for (const auto& [key, expected] : units) {
      EXPECT_EQ(kept(in_steps.plan, key.first, key.second), expected);
    }
    EXPECT_THAT(kept(in_steps.plan, AxisLabel::Ffn, 0), SizeIs(3));
    EXPECT_THAT(kept(in_steps.plan, AxisLabel::KvGroup, 1), SizeIs(1));
    EXPECT_EQ(entry_of(in_steps.plan, AxisLabel::Ffn, 0).units, 12);
    expect_same_weights(shrink(model, in_steps.plan.keeps()), left);
  }
}

// Every unit has the score of the last step that saw it.
TEST(MakePlan, InStepsKeepsTheScoresOfUnitsRemovedEarlier) {
  const Model model = tiny_model({});
  const auto text = [&](int64_t) { return std::vector<TokenBatch>{{random_ids(model, 3, 8)}}; };
  const Plan first = make_plan(model, {.calibration = text}, {.ratio = 0.25}).plan;
  const Plan both = make_plan(model, {.calibration = text}, {.ratio = 0.5, .steps = 2}).plan;
  const Plan second =
      plan_of(shrink(model, first.keeps()), {.ratio = 0.33});  // the same text, 9 → 6
  const PlanEntry& before = entry_of(first, AxisLabel::Ffn, 1);
  const PlanEntry& after = entry_of(second, AxisLabel::Ffn, 1);
  const PlanEntry& entry = entry_of(both, AxisLabel::Ffn, 1);
  ASSERT_THAT(entry.scores, SizeIs(12));
  std::vector<double> expected = before.scores;
  for (size_t i = 0; i < before.keep.units.size(); ++i) {
    expected[static_cast<size_t>(before.keep.units[i])] = after.scores[i];
  }
  EXPECT_EQ(entry.scores, expected);
  EXPECT_NE(entry.scores, before.scores);
}

TEST(MakePlan, TakesUpStepsThatAnEarlierProcessFinished) {
  const Model model = tiny_model({});
  std::map<int64_t, PlanResult> saved;
  std::vector<int64_t> calibrated;
  const auto run = [&](int64_t already) {
    calibrated.clear();
    PlanContext context;
    context.calibration = [&](int64_t step) {
      calibrated.push_back(step);
      return std::vector<TokenBatch>{{random_ids(model, 3, 8, static_cast<uint64_t>(step))}};
    };
    context.finished = [&, already](int64_t step) -> std::optional<PlanResult> {
      if (step >= already) return std::nullopt;
      return saved.at(step);
    };
    context.finish = [&](int64_t step, const PlanResult& result) { saved[step] = result; };
    return make_plan(model, context, {.ratio = 0.75, .steps = 3});
  };
  const PlanResult whole = run(0);
  EXPECT_THAT(calibrated, ElementsAre(0, 1, 2));
  for (int64_t already = 1; already <= 3; ++already) {
    const PlanResult resumed = run(already);
    EXPECT_EQ(calibrated.size(), static_cast<size_t>(3 - already));
    EXPECT_EQ(resumed.calibration_loss, whole.calibration_loss);
    EXPECT_EQ(resumed.ratio, whole.ratio);
    for (const PlanEntry& entry : whole.plan.entries) {
      EXPECT_EQ(kept(resumed.plan, entry.keep.label, entry.keep.layer), entry.keep.units);
      EXPECT_EQ(entry_of(resumed.plan, entry.keep.label, entry.keep.layer).scores, entry.scores);
    }
  }
}

// Magnitudes of layer 1 a hundred times those of layer 0: locally both give half, globally the
// first gives all but one unit.
TEST(MakePlan, RanksLocallyOrGlobally) {
  const Model plain = tiny_model({});
  const auto weights = copy_weights(plain);
  for (auto& [name, tensor] : weights->tensors) {
    if (name.find("layers.1.mlp.") != std::string::npos) tensor.mul_(100);
  }
  const Model model(plain.config(), weights);
  const PruneOptions local{.method = "l1", .attn_ratio = 0.0, .ffn_ratio = 0.5};
  const Plan per_layer = plan_of(model, local);
  EXPECT_THAT(kept(per_layer, AxisLabel::Ffn, 0), SizeIs(6));
  EXPECT_THAT(kept(per_layer, AxisLabel::Ffn, 1), SizeIs(6));
  EXPECT_THAT(kept(per_layer, AxisLabel::KvGroup, 0), SizeIs(4));
  PruneOptions global = local;
  global.global = true;
  const Plan ranked = plan_of(model, global);
  EXPECT_THAT(kept(ranked, AxisLabel::Ffn, 0), SizeIs(1));
  EXPECT_THAT(kept(ranked, AxisLabel::Ffn, 1), SizeIs(11));
  // Measured by its own mean each layer is as important as the other.
  global.normalisation = Normalisation::Mean;
  const Plan normalised = plan_of(model, global);
  const size_t first = kept(normalised, AxisLabel::Ffn, 0).size();
  EXPECT_GE(first, 4u);
  EXPECT_LE(first, 8u);
  EXPECT_EQ(first + kept(normalised, AxisLabel::Ffn, 1).size(), 12u);
}

// The scores of l1 are sums of |w|, so who stays can be told from the weights.
TEST(MakePlan, KeepsTheUnitsOfHighestScoreAndWritesTheScoresDown) {
  const Model model = tiny_model({.layers = 1});
  const Plan plan = plan_of(model, {.method = "l1", .ratio = 0.5});
  const auto weights = copy_weights(model);
  const at::Tensor by_hand =
      weights->tensors.at("model.layers.0.mlp.gate_proj.weight").abs().sum(1) +
      weights->tensors.at("model.layers.0.mlp.up_proj.weight").abs().sum(1) +
      weights->tensors.at("model.layers.0.mlp.down_proj.weight").abs().sum(0);
  const PlanEntry& entry = entry_of(plan, AxisLabel::Ffn, 0);
  ASSERT_THAT(entry.scores, SizeIs(12));
  double lowest_kept = 1e9;
  double highest_gone = 0;
  for (int64_t u = 0; u < 12; ++u) {
    const auto score = by_hand[u].item<double>();
    EXPECT_NEAR(entry.scores[static_cast<size_t>(u)], score, 1e-5);
    const auto& units = entry.keep.units;
    const bool stays = std::find(units.begin(), units.end(), u) != units.end();
    double& bound = stays ? lowest_kept : highest_gone;
    bound = stays ? std::min(bound, score) : std::max(bound, score);
  }
  EXPECT_THAT(entry.keep.units, SizeIs(6));
  EXPECT_GT(lowest_kept, highest_gone);
}

void expect_sound(const Model& model, const PlanResult& result) {
  check_plan(result.plan, model);
  for (const PlanEntry& entry : result.plan.entries) {
    EXPECT_THAT(entry.scores, SizeIs(static_cast<size_t>(entry.units)));
    EXPECT_GT(*std::max_element(entry.scores.begin(), entry.scores.end()), 0);
  }
  const Model left = shrink(model, result.plan.keeps());
  const at::Tensor logits = logits_of(left, random_ids(model, 1, 6));
  EXPECT_TRUE(at::isfinite(logits).all().item<bool>());
}

TEST(MakePlan, CutsTheHiddenDimension) {
  const Model model = tiny_model({.kv_heads = 2, .tied = true});
  const PlanResult result =
      make_plan(model, {{random_ids(model, 3, 8)}}, {.structure = Structure::Channel});
  ASSERT_THAT(result.plan.entries, SizeIs(1));
  EXPECT_THAT(kept(result.plan, AxisLabel::Hidden, -1), SizeIs(12));  // 16 − 4
  EXPECT_EQ(shrink(model, result.plan.keeps()).config().hidden_size, 12);
  expect_sound(model, result);
}

TEST(MakePlan, CutsQueryHeads) {
  const Model model = tiny_model({.kv_heads = 2});
  for (const int64_t steps : {1, 2}) {
    const PlanResult result =
        make_plan(model, {{random_ids(model, 3, 8)}},
                  {.granularity = Granularity::QueryHead, .ratio = 0.5, .steps = steps});
    const auto& units = kept(result.plan, AxisLabel::QueryHead, 1);
    ASSERT_THAT(units, SizeIs(2));
    EXPECT_LT(units[0], 2);
    EXPECT_GE(units[1], 2);
    const Model left = shrink(model, result.plan.keeps());
    EXPECT_EQ(left.config().layers[0].num_attention_heads, 2);
    EXPECT_EQ(left.config().layers[0].num_key_value_heads, 2);
    expect_sound(model, result);
  }
}

TEST(MakePlan, CutsHeadChannelsAlikeInEveryLayer) {
  const Model model = tiny_model({.head_dim = 8, .kv_heads = 2});
  for (const int64_t steps : {1, 2}) {
    const PlanResult result =
        make_plan(model, {{random_ids(model, 3, 8)}},
                  {.granularity = Granularity::HeadDim, .ratio = 0.5, .steps = steps});
    EXPECT_THAT(kept(result.plan, AxisLabel::RopePair, 0), SizeIs(2));
    EXPECT_THAT(kept(result.plan, AxisLabel::ValueDim, 1), SizeIs(2 * 4));
    const Model left = shrink(model, result.plan.keeps());
    EXPECT_EQ(left.config().head_dim, 4);
    EXPECT_EQ(left.config().layers[0].rope_pairs, kept(result.plan, AxisLabel::RopePair, 0));
    expect_sound(model, result);
  }
}

TEST(MakePlan, DropsTheLayersItIsTold) {
  const Model model = tiny_model({.layers = 4});
  const auto layers = [&](const PruneOptions& options) {
    PruneOptions layer_wise = options;
    layer_wise.structure = Structure::Layer;
    EXPECT_FALSE(needs_calibration(resolve(layer_wise, 4)));
    const Plan plan = make_plan(model, PlanContext{}, layer_wise).plan;
    check_plan(plan, model);
    return kept(plan, AxisLabel::Layer, -1);
  };
  EXPECT_THAT(layers({.keep_first = 3}), ElementsAre(0, 1, 2));
  EXPECT_THAT(layers({.keep_first = 4}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(layers({.drop_layers = {2, 0, 2}}), ElementsAre(1, 3));
  const auto refuse = [&](const std::string& part, const PruneOptions& options) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { layers(options); });
  };
  refuse("--keep-first 0", {.keep_first = 0});
  refuse("--keep-first 5", {.keep_first = 5});
  refuse("layer 4", {.drop_layers = {4}});
  refuse("layer -1", {.drop_layers = {-1}});
  refuse("all 4 layers", {.drop_layers = {3, 2, 1, 0}});
}

TEST(MakePlan, ReachesATargetInSteps) {
  const Model model = tiny_model({.ffn = 40, .layers = 3});
  const int64_t wanted = model.parameters() * 7 / 10;
  for (const bool global : {false, true}) {
    const PlanResult result =
        make_plan(model,
                  {.calibration =
                       [&](int64_t) { return std::vector<TokenBatch>{{random_ids(model, 3, 8)}}; }},
                  {.target_params = wanted, .global = global, .steps = 3});
    const int64_t left = shrink(model, result.plan.keeps()).parameters();
    EXPECT_LE(left, wanted);
    // No more too few than one unit of every set: 3·16 for a channel, 4·4·16 for a head.
    EXPECT_GT(left, wanted - 3 * (3 * 16 + 4 * 4 * 16));
    EXPECT_GT(result.ratio, 0.0);
  }
}

// Of four heads at 0.375 one goes, in the first or second of three steps, none in the third.
TEST(MakePlan, WarnsOfSetsThatLoseNothingInAnyStep) {
  const Model model = tiny_model({.ffn = 40});
  const auto warned = [&](double ratio) {
    testing::internal::CaptureStderr();
    make_plan(model, PlanContext{}, {.method = "l1", .ratio = ratio, .steps = 3});
    return testing::internal::GetCapturedStderr().find("removes nothing there") !=
           std::string::npos;
  };
  EXPECT_FALSE(warned(0.375));
  EXPECT_TRUE(warned(0.1));
}

TEST(MakePlan, SaysWhereCalibrationIsMissing) {
  const Model model = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "--calib",
               [&] { make_plan(model, PlanContext{}, PruneOptions{}); });
  EXPECT_FALSE(needs_calibration(resolve({.method = "l2"}, 2)));
  EXPECT_TRUE(needs_calibration(resolve({}, 2)));
}

// Weights that are never read: method random looks at none.
class NoWeights : public WeightSource {
 public:
  at::Tensor read(const TensorInfo& tensor) const override {
    throw std::logic_error("read " + tensor.name);
  }
  at::ScalarType dtype(const TensorInfo&) const override { return at::kHalf; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}
};

// The counts that LLM-Pruner's README and paper print for LLaMA-7B.
TEST(MakePlan, LeavesAsManyParametersOfLlama7bAsTheReference) {
  const Json json = tiny_config({.hidden = 4096,
                                 .head_dim = 128,
                                 .q_heads = 32,
                                 .kv_heads = 32,
                                 .ffn = 11008,
                                 .vocab = 32000,
                                 .layers = 32});
  const Model model(parse_config(json, "llama-7b"), std::make_shared<NoWeights>());
  EXPECT_EQ(model.parameters(), 6738415616);
  const auto left = [&](const std::string& preset) {
    const Plan plan = make_plan(model, PlanContext{}, {.method = "random", .preset = preset}).plan;
    return shrink(model, plan.keeps());
  };
  const Model twenty = left("llm-pruner-20");
  EXPECT_EQ(twenty.parameters(), 5422977024);
  EXPECT_EQ(twenty.config().layers[3].num_attention_heads, 32);
  EXPECT_EQ(twenty.config().layers[4].num_attention_heads, 24);
  EXPECT_EQ(twenty.config().layers[29].intermediate_size, 8256);
  EXPECT_EQ(twenty.config().layers[30].intermediate_size, 11008);
  const Model fifty = left("llm-pruner-50");
  EXPECT_EQ(fifty.parameters(), 3350188032);
  EXPECT_EQ(fifty.config().layers[3].num_attention_heads, 13);
  EXPECT_EQ(fifty.config().layers[30].intermediate_size, 4403);
}

}  // namespace
}  // namespace prunus::test::prune_test
