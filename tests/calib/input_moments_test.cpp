#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/statistic.h"

namespace prunus::input_moments_test {
namespace {

at::Tensor tokens(int64_t count, int64_t channels, int64_t seed) {
  at::manual_seed(static_cast<uint64_t>(seed));
  return at::randn({count, channels});
}

TEST(InputMoments, AreMeanAndVarianceOfTheTokens) {
  std::vector<at::Tensor> sums;
  stats::input_moments.add(sums, at::tensor({1.0F, 3.0F}).unsqueeze(1), {});
  stats::input_moments.add(sums, at::tensor({5.0F}).unsqueeze(0), {});
  const StatisticSums all{sums, 3};
  EXPECT_DOUBLE_EQ(input_mean_of(all).item<double>(), 3);
  EXPECT_DOUBLE_EQ(input_variance_of(all).item<double>(), 8.0 / 3);
}

// A mean of a thousand deviations, as the outlier channels of real models have.
TEST(InputMoments, KeepTheVarianceBesideALargeMean) {
  const at::Tensor x = tokens(4000, 5, 1) + 1000;
  std::vector<at::Tensor> sums;
  for (const at::Tensor& part : x.split(64)) stats::input_moments.add(sums, part, {});
  const at::Tensor expected = x.to(at::kDouble).var(0, false);
  EXPECT_TRUE(at::allclose(input_variance_of({sums, 4000}), expected, 1e-8));
}

TEST(InputMoments, OfAConstantHaveNoVariance) {
  std::vector<at::Tensor> sums;
  stats::input_moments.add(sums, at::full({7, 2}, 0.1F), {});
  const at::Tensor variance = input_variance_of({sums, 7});
  EXPECT_GE(variance.min().item<double>(), 0);
  EXPECT_LT(variance.max().item<double>(), 1e-16);
}

}  // namespace
}  // namespace prunus::input_moments_test
