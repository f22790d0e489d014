// The layers that ShortGPT drops, against cosines taken token by token in FP64.
#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/expect_error.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::shortgpt_test {
namespace {

double influence(const at::Tensor& before, const at::Tensor& after) {
  double sum = 0;
  for (int64_t t = 0; t < before.size(0); ++t) {
    double dot = 0, x = 0, y = 0;
    for (int64_t c = 0; c < before.size(1); ++c) {
      const double a = before[t][c].item<double>();
      const double b = after[t][c].item<double>();
      dot += a * b;
      x += a * a;
      y += b * b;
    }
    sum += dot / std::sqrt(x * y);
  }
  return 1 - sum / static_cast<double>(before.size(0));
}

class ShortGpt : public testing::Test {
 protected:
  const Model model_ = tiny_model({.layers = 5});
  const std::vector<TokenBatch> batches_ = {{random_ids(model_, 2, 7, 1)},
                                            {random_ids(model_, 1, 7, 2)}};
};

TEST_F(ShortGpt, DropsTheLayersThatTurnTheStreamLeast) {
  const RecordedInputs seen(model_, batches_);
  std::vector<double> expected;
  for (int layer = 0; layer < 5; ++layer) {
    expected.push_back(influence(seen.before(layer), seen.after(layer)));
  }
  const Plan plan = make_plan(model_, batches_, {.method = "shortgpt", .ratio = 0.4}).plan;
  ASSERT_EQ(plan.entries.size(), 1u);
  const PlanEntry& entry = plan.entries[0];
  EXPECT_EQ(entry.keep.label, AxisLabel::Layer);
  ASSERT_EQ(entry.scores.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(entry.scores[i], expected[i], 1e-5);
  std::vector<int64_t> order(5);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return expected[static_cast<size_t>(a)] > expected[static_cast<size_t>(b)];
  });
  std::vector<int64_t> kept(order.begin(), order.begin() + 3);
  std::sort(kept.begin(), kept.end());
  EXPECT_EQ(entry.keep.units, kept);
  check_plan(plan, model_);
  EXPECT_EQ(shrink(model_, plan.keeps()).layer_count(), 3);
}

TEST_F(ShortGpt, MeetsATargetOfParameters) {
  const int64_t wanted = model_.parameters() * 7 / 10;
  const Plan plan =
      make_plan(model_, batches_, {.method = "shortgpt", .target_params = wanted}).plan;
  EXPECT_LE(shrink(model_, plan.keeps()).parameters(), wanted);
}

TEST_F(ShortGpt, ScoresLayersAndNothingElse) {
  expect_error(ErrorKind::InvalidArgument, "cannot score what --structure block removes", [&] {
    make_plan(model_, batches_, {.method = "shortgpt", .structure = Structure::Block});
  });
  expect_error(ErrorKind::InvalidArgument,
               "or a --method that scores layers: angular, laco, "
               "shortened-llama, shortgpt, sleb",
               [&] { make_plan(model_, batches_, {.structure = Structure::Layer}); });
}

}  // namespace
}  // namespace prunus::test::shortgpt_test
