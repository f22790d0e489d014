// The order in which SLEB drops layers, against models built and measured one by one.
#include <limits>
#include <map>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/expect_error.h"
#include "support/plain_loss.h"

namespace prunus::test::sleb_test {
namespace {

struct Greedy {
  std::vector<int64_t> order;  // by the dense model's numbers
  std::vector<double> losses;  // when each went
};

Greedy brute_force(const Model& model, const std::vector<TokenBatch>& text, size_t count) {
  Greedy result;
  std::vector<int64_t> left(static_cast<size_t>(model.layer_count()));
  for (size_t i = 0; i < left.size(); ++i) left[i] = static_cast<int64_t>(i);
  while (result.order.size() < count) {
    double least = std::numeric_limits<double>::infinity();
    std::vector<int64_t> best;
    int64_t goes = -1;
    for (const int64_t layer : left) {
      std::vector<int64_t> kept = left;
      std::erase(kept, layer);
      const double loss = plain_loss(shrink(model, {{AxisLabel::Layer, -1, kept}}), text);
      if (loss >= least) continue;
      least = loss;
      best = kept;
      goes = layer;
    }
    left = best;
    result.order.push_back(goes);
    result.losses.push_back(least);
  }
  return result;
}

class Sleb : public testing::Test {
 protected:
  const Model model_ = tiny_model({.kv_heads = 2, .layers = 6});
  const std::vector<TokenBatch> text_ = {{random_ids(model_, 3, 9, 1)},
                                         {random_ids(model_, 1, 9, 2)}};
};

TEST_F(Sleb, DropsLayersInTheOrderOfBruteForce) {
  const Greedy expected = brute_force(model_, text_, 4);
  std::vector<std::vector<int64_t>> kept;  // after each step
  PlanContext context{.calibration = [&](int64_t step) {
    EXPECT_EQ(step, 0);
    return text_;
  }};
  context.finish = [&](int64_t step, const PlanResult& result) {
    EXPECT_EQ(step, static_cast<int64_t>(kept.size()));
    kept.push_back(result.plan.entries.at(0).keep.units);
  };
  const PlanResult made = make_plan(model_, context, {.method = "sleb", .ratio = 0.66});
  ASSERT_EQ(kept.size(), 4U);
  std::vector<int64_t> left{0, 1, 2, 3, 4, 5};
  for (size_t step = 0; step < 4; ++step) {
    std::erase(left, expected.order[step]);
    EXPECT_EQ(kept[step], left);
    EXPECT_NEAR(made.plan.entries[0].scores[static_cast<size_t>(expected.order[step])],
                expected.losses[step], 1e-5);
  }
  EXPECT_NEAR(made.calibration_loss, plain_loss(model_, text_), 1e-5);
  EXPECT_EQ(made.plan.entries[0].units, 6);
  check_plan(made.plan, model_);
}

TEST_F(Sleb, GoesOnWhereAnEarlierProcessStopped) {
  std::map<int64_t, PlanResult> saved;
  int64_t measured = 0;
  const auto run = [&](int64_t already) {
    measured = 0;
    PlanContext context{.calibration = [&](int64_t) {
      ++measured;
      return text_;
    }};
    context.finished = [&, already](int64_t step) -> std::optional<PlanResult> {
      if (step >= already) return std::nullopt;
      return saved.at(step);
    };
    context.finish = [&](int64_t step, const PlanResult& result) { saved[step] = result; };
    return make_plan(model_, context, {.method = "sleb", .ratio = 0.5});
  };
  const PlanResult whole = run(0);
  for (int64_t already = 1; already <= 3; ++already) {
    const PlanResult resumed = run(already);
    EXPECT_EQ(measured, 3 - already);
    EXPECT_EQ(resumed.plan.entries[0].keep.units, whole.plan.entries[0].keep.units);
    EXPECT_EQ(resumed.plan.entries[0].scores, whole.plan.entries[0].scores);
  }
}

TEST_F(Sleb, MeetsATargetOfParameters) {
  const int64_t wanted = model_.parameters() * 7 / 10;
  const Plan made = make_plan(model_, text_, {.method = "sleb", .target_params = wanted}).plan;
  const Model cut = shrink(model_, made.keeps());
  EXPECT_LE(cut.parameters(), wanted);
  EXPECT_GT(cut.parameters() + layer_set(model_).parameters_per_unit(), wanted);
}

TEST_F(Sleb, TakesNoSteps) {
  expect_error(ErrorKind::InvalidArgument, "takes a step for each layer or part that goes",
               [&] { make_plan(model_, text_, {.method = "sleb", .steps = 2}); });
  expect_error(ErrorKind::InvalidArgument, "cannot score what --structure block removes", [&] {
    make_plan(model_, text_, {.method = "sleb", .structure = Structure::Block});
  });
}

}  // namespace
}  // namespace prunus::test::sleb_test
