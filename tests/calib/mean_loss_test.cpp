#include "prunus/calib/mean_loss.h"

#include <limits>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::mean_loss_test {
namespace {

// Batches of different sizes: every predicted token counts alike, not every batch.
TEST(MeanLoss, IsTheMeanOverThePredictedTokensOfAllBatches) {
  const Model model = tiny_model({});
  const std::vector<TokenBatch> batches = {{random_ids(model, 3, 7, 1)},
                                           {random_ids(model, 1, 5, 2)}};
  const BlockStream stream(model, at::kCPU);
  std::vector<at::Tensor> hidden = stream.embed(batches);
  stream.forward(hidden);
  double sum = 0;
  int64_t predicted = 0;
  for (const TokenBatch& batch : batches) {
    const at::Tensor log_p = logits_of(model, batch.ids).to(at::kDouble).log_softmax(-1);
    for (int64_t row = 0; row < batch.ids.size(0); ++row) {
      for (int64_t place = 0; place + 1 < batch.ids.size(1); ++place, ++predicted) {
        sum -= log_p[row][place][batch.ids[row][place + 1].item<int64_t>()].item<double>();
      }
    }
  }
  EXPECT_EQ(predicted, 3 * 6 + 4);
  EXPECT_NEAR(mean_loss(model, at::kCPU, batches, hidden), sum / 22, 1e-5);
}

TEST(MeanLoss, RefusesStatesThatAreNotFinite) {
  const Model model = tiny_model({});
  const std::vector<TokenBatch> batches = {{random_ids(model, 1, 5, 1)}};
  const std::vector<at::Tensor> hidden = {
      at::full({1, 5, 16}, std::numeric_limits<float>::quiet_NaN())};
  expect_error(ErrorKind::Numeric, "calibration loss",
               [&] { mean_loss(model, at::kCPU, batches, hidden); });
}

}  // namespace
}  // namespace prunus::test::mean_loss_test
