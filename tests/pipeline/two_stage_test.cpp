// 2SSP: how much each stage gives worked out by hand, neurons by norms in FP64, attention parts
// against models built and measured one by one.
#include "prunus/pipeline/two_stage.h"

#include <limits>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/plain_loss.h"
#include "support/recorded_inputs.h"

namespace prunus::test::two_stage_test {
namespace {

class TwoStage : public testing::Test {
 protected:
  // Attention part: 256 + 128 + 128 + 256 and a norm of 16, 784 weights; twelve channels of 48.
  const Model model_ = tiny_model({.kv_heads = 2, .layers = 6});
  const std::vector<TokenBatch> text_ = {{random_ids(model_, 3, 9, 1)},
                                         {random_ids(model_, 1, 9, 2)}};

  TwoStages stages(const PruneOptions& options) const {
    return stages_of(model_, resolve(options, model_.layer_count()));
  }
};

TEST_F(TwoStage, SharesTheRatioAsThePaperSays) {
  // Half of 6 · (784 + 576): 4080. 6 · 0.5^(576 / 784 / 1.5) = 4.27.
  const TwoStages half = stages({.method = "2ssp", .ratio = 0.5});
  EXPECT_EQ(half.attention_parts, 4);
  EXPECT_NEAR(half.channels, (4080 - 4 * 784) / 3456.0, 1e-12);
  // A tenth: 816, and 6 · 0.1^0.49 = 1.94; but there is room for one.
  const TwoStages tenth = stages({.method = "2ssp", .ratio = 0.1});
  EXPECT_EQ(tenth.attention_parts, 1);
  EXPECT_NEAR(tenth.channels, (816 - 784) / 3456.0, 1e-12);
  const TwoStages none = stages({.method = "2ssp", .ratio = 0.0});
  EXPECT_EQ(none.attention_parts, 0);
  EXPECT_EQ(none.channels, 0);
  // Of two layers alone: half of 2720 is 1360, 2 · 0.5^0.49 = 1.42.
  const TwoStages some = stages({.method = "2ssp", .ratio = 0.5, .layers = LayerRange{2, 4}});
  EXPECT_EQ(some.attention_parts, 1);
  EXPECT_NEAR(some.channels, (1360 - 784) / 1152.0, 1e-12);
  expect_error(ErrorKind::InvalidArgument, "would lose all their channels",
               [&] { stages({.method = "2ssp", .target_params = model_.parameters() - 8000}); });
}

TEST_F(TwoStage, NarrowsByNormsThenDropsTheLeastAttention) {
  std::vector<Plan> steps;
  PlanContext context{.calibration = [&](int64_t) { return text_; }};
  context.finish = [&](int64_t, const PlanResult& result) { steps.push_back(result.plan); };
  const Plan plan = make_plan(model_, context, {.method = "2ssp", .ratio = 0.5}).plan;
  ASSERT_EQ(steps.size(), 5U);
  check_plan(plan, model_);
  // Stage one: mean over samples of the norm over tokens; 4 of 12 go.
  std::vector<RecordedInputs> samples;
  for (const TokenBatch& batch : text_) {
    for (const at::Tensor& row : batch.ids.unbind(0)) {
      samples.emplace_back(model_, std::vector<TokenBatch>{{row.unsqueeze(0)}});
    }
  }
  std::vector<Keep> keeps;
  for (int layer = 0; layer < 6; ++layer) {
    const PlanEntry& entry = plan.entries.at(static_cast<size_t>(layer));
    ASSERT_EQ(entry.keep.label, AxisLabel::Ffn);
    EXPECT_EQ(entry.keep.units.size(), 8U);
    double least_kept = std::numeric_limits<double>::infinity();
    double most_gone = 0;
    for (int64_t channel = 0; channel < 12; ++channel) {
      double mean = 0;
      for (const RecordedInputs& sample : samples) {
        const at::Tensor x = sample.input(layer, Role::DownProj).select(1, channel);
        mean += x.square().sum().sqrt().item<double>() / static_cast<double>(samples.size());
      }
      EXPECT_NEAR(entry.scores[static_cast<size_t>(channel)], mean, 1e-5 * mean);
      const auto& kept = entry.keep.units;
      const bool stays = std::find(kept.begin(), kept.end(), channel) != kept.end();
      if (stays) least_kept = std::min(least_kept, mean);
      if (!stays) most_gone = std::max(most_gone, mean);
    }
    EXPECT_GT(least_kept, most_gone);
    keeps.push_back(entry.keep);
  }
  // Stage two.
  Model left = shrink(model_, keeps);
  std::vector<int64_t> kept{0, 1, 2, 3, 4, 5};
  EXPECT_EQ(steps[0].entries.back().keep.units, kept);
  for (size_t step = 1; step <= 4; ++step) {
    double least = std::numeric_limits<double>::infinity();
    int64_t goes = -1;
    for (const int64_t layer : kept) {
      const double loss = plain_loss(without_unit(left, layer, SubLayer::Attention), text_);
      if (loss < least) goes = layer;
      least = std::min(least, loss);
    }
    left = without_unit(left, goes, SubLayer::Attention);
    std::erase(kept, goes);
    EXPECT_EQ(steps[step].entries.back().keep.units, kept) << step;
    EXPECT_NEAR(plan.entries.back().scores[static_cast<size_t>(goes)], least, 1e-5);
  }
  EXPECT_EQ(shrink(model_, plan.keeps()).parameters(), left.parameters());
}

TEST_F(TwoStage, GoesOnWhereAnEarlierProcessStopped) {
  std::map<int64_t, PlanResult> saved;
  int64_t done = 0;
  const auto run = [&](int64_t already) {
    done = 0;
    PlanContext context{.calibration = [&](int64_t) { return text_; }};
    context.finished = [&, already](int64_t step) -> std::optional<PlanResult> {
      if (step >= already) return std::nullopt;
      return saved.at(step);
    };
    context.finish = [&](int64_t step, const PlanResult& result) {
      ++done;
      saved[step] = result;
    };
    return to_json(make_plan(model_, context, {.method = "2ssp", .ratio = 0.5}).plan).dump();
  };
  const std::string whole = run(0);
  for (int64_t already = 1; already <= 5; ++already) {
    EXPECT_EQ(run(already), whole);
    EXPECT_EQ(done, 5 - already);
  }
}

TEST_F(TwoStage, MeetsATargetAndTakesOtherScores) {
  const int64_t wanted = model_.parameters() - 4080;
  for (const char* method : {"2ssp", "wanda-sp", "l2"}) {
    const Plan plan =
        make_plan(model_, text_, {.method = method, .target_params = wanted, .budget = "two_stage"})
            .plan;
    const Model left = shrink(model_, plan.keeps());
    EXPECT_LE(left.parameters(), wanted);
    EXPECT_GT(left.parameters() + 6 * 48, wanted);
    EXPECT_EQ(layers_with(left, SubLayer::Attention).size(), 2U);
  }
}

TEST_F(TwoStage, CutsTheChannelsOfExpertsAlike) {
  const Model mixture = open_model(golden_dir("mixtral"));
  const Plan plan =
      make_plan(mixture, {{random_ids(mixture, 4, 7, 1)}}, {.method = "2ssp", .ratio = 0.3}).plan;
  check_plan(plan, mixture);
  EXPECT_LT(shrink(mixture, plan.keeps()).parameters(), mixture.parameters());
}

TEST_F(TwoStage, RefusesWhatItDecidesItself) {
  const auto refused = [&](const PruneOptions& options, const char* message) {
    expect_error(ErrorKind::InvalidArgument, message, [&] { make_plan(model_, text_, options); });
  };
  refused({.method = "2ssp", .steps = 2}, "--budget two_stage finds by itself");
  refused({.method = "2ssp", .ffn_ratio = 0.2}, "--budget two_stage finds by itself");
  refused({.method = "2ssp", .target_bytes = 1000}, "--budget two_stage counts parameters");
  refused({.method = "2ssp", .granularity = Granularity::QueryHead},
          "--budget two_stage says itself");
}

}  // namespace
}  // namespace prunus::test::two_stage_test
