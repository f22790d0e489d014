#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/statistic.h"

namespace prunus::hessian_test {
namespace {

at::Tensor tokens(int64_t count, int64_t channels, int64_t seed) {
  at::manual_seed(static_cast<uint64_t>(seed));
  return at::randn({count, channels});
}

TEST(Hessian, IsTwiceTheMeanProductOfInputs) {
  const at::Tensor x = tokens(50, 6, 2);
  std::vector<at::Tensor> sums;
  for (const at::Tensor& part : x.split(16)) stats::hessian.add(sums, part, {});
  const at::Tensor got = hessian_of({sums, 50});
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t j = 0; j < 6; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < 50; ++t) {
        sum += x[t][i].item<double>() * x[t][j].item<double>();
      }
      EXPECT_NEAR(got[i][j].item<double>(), 2 * sum / 50, 1e-6);
    }
  }
}

// ½·dᵀ·H·d is the mean squared change of an output whose weights change by d.
TEST(Hessian, IsThatOfTheOutputsMeanSquaredError) {
  const at::Tensor x = tokens(40, 4, 3).to(at::kDouble), d = tokens(1, 4, 4).to(at::kDouble)[0];
  std::vector<at::Tensor> sums;
  stats::hessian.add(sums, x, {});
  EXPECT_EQ(sums[0].scalar_type(), at::kDouble);
  const double half = 0.5 * d.dot(at::mv(hessian_of({sums, 40}), d)).item<double>();
  EXPECT_NEAR(half, at::mv(x, d).square().mean().item<double>(), 1e-12);
}

}  // namespace
}  // namespace prunus::hessian_test
