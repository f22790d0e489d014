#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/statistic.h"

namespace prunus::input_norm_test {
namespace {

at::Tensor tokens(int64_t count, int64_t channels, int64_t seed) {
  at::manual_seed(static_cast<uint64_t>(seed));
  return at::randn({count, channels});
}

TEST(InputNorm, IsTheEuclideanNormOfEachChannel) {
  std::vector<at::Tensor> sums;
  const at::Tensor a = at::tensor({3.0F, 0.0F}).unsqueeze(0),
                   b = at::tensor({4.0F, 2.0F}).unsqueeze(0);
  stats::input_norm.add(sums, a, {});
  stats::input_norm.add(sums, b, {});
  const at::Tensor norm = input_norm_of({sums, 2});
  EXPECT_DOUBLE_EQ(norm[0].item<double>(), 5);
  EXPECT_DOUBLE_EQ(norm[1].item<double>(), 2);
}

// Squares of 16-bit floats would overflow in their own type.
TEST(InputNorm, IsTakenInFp64) {
  std::vector<at::Tensor> sums;
  for (int i = 0; i < 10; ++i) stats::input_norm.add(sums, tokens(1000, 3, i), {});
  EXPECT_EQ(sums[0].scalar_type(), at::kDouble);
  std::vector<at::Tensor> all;
  for (int i = 0; i < 10; ++i) all.push_back(tokens(1000, 3, i).to(at::kDouble));
  const at::Tensor expected = at::cat(all).square().sum(0).sqrt();
  EXPECT_TRUE(at::allclose(input_norm_of({sums, 10'000}), expected, 1e-7));
}

}  // namespace
}  // namespace prunus::input_norm_test
