#include "prunus/calib/ridge.h"

#include <limits>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::ridge_test {
namespace {

at::Tensor gram() {
  at::manual_seed(4);
  at::Tensor x = at::randn({30, 5}, at::kDouble);
  x.select(1, 3).mul_(1000);
  return at::matmul(x.t(), x);
}

TEST(RidgedFactor, IsThatOfWhatWasAdded) {
  const at::Tensor sums = gram();
  const double floor = 1e-7 * sums.diagonal().mean().item<double>();
  for (const bool free_last : {false, true}) {
    const RidgedFactor ridged = ridged_factor(sums, 0.2, free_last, "test");
    at::Tensor wanted = sums.diagonal() * 0.2 + floor;
    if (free_last) wanted[-1] = floor;
    EXPECT_TRUE(at::allclose(ridged.added, wanted, 1e-14));
    const at::Tensor product = at::matmul(ridged.factor, ridged.factor.t());
    EXPECT_TRUE(at::allclose(product, sums + at::diag(wanted), 1e-12));
  }
}

// Not positive definite: −1 needs a ridge above 1 on its diagonal, which is larger elsewhere.
TEST(RidgedFactor, GrowsUntilThereIsAFactor) {
  at::Tensor sums = at::eye(3, at::kDouble);
  sums[0][1] = 3;
  sums[1][0] = 3;
  const RidgedFactor ridged = ridged_factor(sums, 0.1, false, "test");
  EXPECT_NEAR(ridged.added[0].item<double>(), 10, 1e-5);
}

TEST(RidgedFactor, HasNoneWhereNothingCameIn) {
  EXPECT_FALSE(ridged_factor(at::zeros({3, 3}, at::kDouble), 0.1, false, "test").factor.defined());
}

TEST(RidgedFactor, SaysWhoseSumsAreNotFinite) {
  at::Tensor sums = gram();
  sums[2][2] = std::numeric_limits<double>::quiet_NaN();
  expect_error(ErrorKind::Numeric, "some solver: the second moments",
               [&] { ridged_factor(sums, 0.1, false, "some solver"); });
}

}  // namespace
}  // namespace prunus::test::ridge_test
