#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/statistic.h"

namespace prunus::block_similarity_test {
namespace {

at::Tensor tokens(int64_t count, int64_t channels, int64_t seed) {
  at::manual_seed(static_cast<uint64_t>(seed));
  return at::randn({count, channels});
}

TEST(BlockSimilarity, IsOneForWhatKeepsItsDirection) {
  std::vector<at::Tensor> sums;
  const at::Tensor x = tokens(9, 5, 5);
  stats::block_similarity.add(sums, x, x * 3);
  EXPECT_NEAR(block_cosine_of({sums, 9}), 1, 1e-12);
  EXPECT_NEAR(block_angle_of({sums, 9}), 0, 1e-7);
}

TEST(BlockSimilarity, MeasuresRightAndStraightAngles) {
  std::vector<at::Tensor> sums;
  stats::block_similarity.add(sums, at::tensor({1.0F, 0.0F}).unsqueeze(0),
                              at::tensor({0.0F, 2.0F}).unsqueeze(0));
  stats::block_similarity.add(sums, at::tensor({1.0F, 1.0F}).unsqueeze(0),
                              at::tensor({-2.0F, -2.0F}).unsqueeze(0));
  EXPECT_NEAR(block_cosine_of({sums, 2}), -0.5, 1e-12);
  EXPECT_NEAR(block_angle_of({sums, 2}), 0.75, 1e-7);
}

TEST(BlockSimilarity, KnowsTokensWithoutANorm) {
  std::vector<at::Tensor> sums;
  const at::Tensor before = at::zeros({2, 3});
  at::Tensor after = at::zeros({2, 3});
  after[1][0] = 1;
  stats::block_similarity.add(sums, before, after);
  const StatisticSums all{sums, 2};
  EXPECT_DOUBLE_EQ(block_cosine_of(all), 0.5);
  EXPECT_DOUBLE_EQ(block_angle_of(all), 0.25);
}

}  // namespace
}  // namespace prunus::block_similarity_test
