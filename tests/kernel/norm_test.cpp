#include "prunus/kernel/norm.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace prunus::kernel::norm_test {
namespace {

at::Tensor exact_norm(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                      const NormRule& rule) {
  at::Tensor x = input.to(at::kDouble);
  if (rule.centred) x = x - x.mean(-1, true);
  x = x / (x.square().mean(-1, true) + rule.eps).sqrt();
  if (weight.defined()) x = x * (weight.to(at::kDouble) + (rule.plus_one ? 1 : 0));
  return bias.defined() ? x + bias.to(at::kDouble) : x;
}

class Norm : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Levels, Norm, testing::ValuesIn(cpu_levels()),
                         [](const auto& one) { return std::string(name_of_cpu_level(one.param)); });

TEST_P(Norm, EqualsFloat64ForEveryRuleAndWidth) {
  at::manual_seed(1);
  for (const int64_t n : {1, 5, 16, 64, 100, 577}) {
    const at::Tensor x = at::randn({3, 40, n}) * 3 + 1;
    const at::Tensor weight = at::randn({n}), bias = at::randn({n});
    for (const NormRule& rule :
         {NormRule{1e-5}, NormRule{1e-6, true}, NormRule{1e-5, false, true}}) {
      for (const bool scaled : {false, true}) {
        const at::Tensor gain = scaled ? weight : at::Tensor();
        const at::Tensor offset = scaled && rule.centred ? bias : at::Tensor();
        const at::Tensor y = norm(x, gain, offset, rule, at::kFloat, GetParam());
        const at::Tensor exact = exact_norm(x, gain, offset, rule);
        EXPECT_LT((y.to(at::kDouble) - exact).abs().max().item<double>(), 1e-5) << n;
      }
    }
  }
}

TEST_P(Norm, ReadsAndRoundsHalves) {
  at::manual_seed(2);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor x = at::randn({7, 75}).to(type), weight = at::randn({75}).to(type);
    const at::Tensor wide = norm(x, weight, {}, {1e-5}, at::kFloat, GetParam());
    EXPECT_LT((wide.to(at::kDouble) - exact_norm(x, weight, {}, {1e-5})).abs().max().item<double>(),
              1e-5);
    EXPECT_TRUE(at::equal(norm(x, weight, {}, {1e-5}, type, GetParam()), wide.to(type)));
  }
}

TEST_P(Norm, TakesHeadsInFrontOfPlaces) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({2, 9, 3, 64}).transpose(1, 2);
  ASSERT_TRUE(takes_norm(x));
  const at::Tensor y = norm(x, {}, {}, {1e-6}, at::kFloat, GetParam());
  EXPECT_EQ(y.sizes(), x.sizes());
  EXPECT_LT((y.to(at::kDouble) - exact_norm(x, {}, {}, {1e-6})).abs().max().item<double>(), 1e-5);
}

TEST_P(Norm, PassesOnWhatIsNotANumber) {
  at::Tensor x = at::ones({2, 20});
  x[1][3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = norm(x, {}, {}, {1e-6}, at::kBFloat16, GetParam());
  EXPECT_TRUE(y[0].isfinite().all().item<bool>());
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
}

TEST(TakesNorm, NotWhatIsTrainedNorFloat64NorRowsThatAreApart) {
  EXPECT_TRUE(takes_norm(at::zeros({2, 3})));
  EXPECT_FALSE(takes_norm(at::zeros({2, 3}).requires_grad_(true)));
  EXPECT_FALSE(takes_norm(at::zeros({2, 3}, at::kDouble)));
  EXPECT_FALSE(takes_norm(at::zeros({3, 2}).t()));
}

}  // namespace
}  // namespace prunus::kernel::norm_test
