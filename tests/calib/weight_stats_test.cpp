#include "prunus/calib/weight_stats.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::weight_stats_test {
namespace {

// A joined weight [4, 3] of two experts, rows 0 and 1 and rows 2 and 3.
TEST(WeightStats, OfAnExpertAreItsPartOfWhatHasTheWeightsShape) {
  WeightStats whole;
  whole.role = Role::UpProj;
  whole.weight = at::arange(12, at::kFloat).view({4, 3});
  whole.sums[&stats::gradient] = {{whole.weight * 2}, 5};
  whole.sums[&stats::saliency] = {{at::ones({4}), at::ones({3})}, 5};
  const ExpertPart second{
      .expert = 1, .experts = 2, .dim = 0, .joined = whole.weight, .row_tokens = {}};
  const WeightStats own = whole.of_expert(second);
  EXPECT_EQ(own.role, Role::UpProj);
  EXPECT_EQ(own.expert, 1);
  EXPECT_TRUE(at::equal(own.weight, whole.weight.narrow(0, 2, 2)));
  EXPECT_TRUE(at::equal(gradient_of(own.of(stats::gradient)), own.weight * 2));
  for (const at::Tensor& sum : own.of(stats::saliency).sums) EXPECT_FALSE(sum.defined());
  expect_error(ErrorKind::InvalidArgument, "squared_gradient was not gathered",
               [&] { own.of(stats::squared_gradient); });
}

}  // namespace
}  // namespace prunus::test::weight_stats_test
