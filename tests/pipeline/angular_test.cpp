// The run of layers that `angular` drops, against angles taken window by window in FP64.
#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/plain_loss.h"
#include "support/recorded_inputs.h"
#include "support/sub_layers.h"

namespace prunus::test::angular_test {
namespace {

constexpr int64_t kSeq = 7;

// What stands in front of a layer at the last token of every window.
std::vector<at::Tensor> ends(const RecordedInputs& seen, int layer, int layers) {
  const at::Tensor tokens = layer < layers ? seen.before(layer) : seen.after(layers - 1);
  std::vector<at::Tensor> rows;
  for (int64_t t = kSeq - 1; t < tokens.size(0); t += kSeq) rows.push_back(tokens[t]);
  return rows;
}

double angle(const std::vector<at::Tensor>& before, const std::vector<at::Tensor>& after) {
  double sum = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    double dot = 0, x = 0, y = 0;
    for (int64_t c = 0; c < before[i].size(0); ++c) {
      const double a = before[i][c].item<double>();
      const double b = after[i][c].item<double>();
      dot += a * b;
      x += a * a;
      y += b * b;
    }
    sum += std::acos(dot / std::sqrt(x * y)) / std::numbers::pi;
  }
  return sum / static_cast<double>(before.size());
}

class Angular : public testing::Test {
 protected:
  const Model model_ = tiny_model({.layers = 6});
  const std::vector<TokenBatch> batches_ = {{random_ids(model_, 2, kSeq, 1)},
                                            {random_ids(model_, 1, kSeq, 2)}};

  Plan plan(double ratio) const {
    return make_plan(model_, batches_, {.method = "angular", .ratio = ratio}).plan;
  }
};

TEST_F(Angular, DropsTheRunThatTurnsTheStreamLeast) {
  const RecordedInputs seen(model_, batches_);
  for (const int64_t count : {1, 2, 3, 4}) {
    std::vector<double> runs;
    for (int first = 0; first + count <= 6; ++first) {
      runs.push_back(angle(ends(seen, first, 6), ends(seen, first + static_cast<int>(count), 6)));
    }
    const int64_t least = std::min_element(runs.begin(), runs.end()) - runs.begin();
    std::vector<int64_t> kept;
    for (int64_t layer = 0; layer < 6; ++layer) {
      if (layer < least || layer >= least + count) kept.push_back(layer);
    }
    const Plan made = plan((static_cast<double>(count) - 0.01) / 6);
    ASSERT_EQ(made.entries.size(), 1U);
    EXPECT_EQ(made.entries[0].keep.label, AxisLabel::Layer);
    EXPECT_EQ(made.entries[0].keep.units, kept);
    EXPECT_NEAR(made.entries[0].scores[static_cast<size_t>(least)],
                runs[static_cast<size_t>(least)], 1e-5);
    check_plan(made, model_);
  }
}

// Layers that leave the stream as it is have angles of 0.
TEST_F(Angular, FindsLayersThatDoNothing) {
  Model model = model_;
  for (const int layer : {2, 3}) {
    for (const SubLayer part : kSubLayers) model = silenced(model, part, layer);
  }
  const Plan made = make_plan(model, batches_, {.method = "angular", .ratio = 0.33}).plan;
  EXPECT_EQ(made.entries[0].keep.units, (std::vector<int64_t>{0, 1, 4, 5}));
  EXPECT_LT(made.entries[0].scores[2], 1e-6);
}

TEST_F(Angular, MeetsATargetOfParametersAndSaysTheLoss) {
  const int64_t wanted = model_.parameters() * 6 / 10;
  const PlanResult made =
      make_plan(model_, batches_, {.method = "angular", .target_params = wanted});
  EXPECT_LE(shrink(model_, made.plan.keeps()).parameters(), wanted);
  EXPECT_NEAR(made.calibration_loss, plain_loss(model_, batches_), 1e-5);
}

}  // namespace
}  // namespace prunus::test::angular_test
