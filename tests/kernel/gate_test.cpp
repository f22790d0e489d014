#include "prunus/kernel/gate.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace prunus::kernel::gate_test {
namespace {

at::Tensor exact_gate(Gate kind, const at::Tensor& x, const at::Tensor& up) {
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor bent = kind == Gate::Silu ? at::silu(wide) : at::gelu(wide, "tanh");
  return bent * up.to(at::kDouble);
}

class GateTest : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Levels, GateTest, testing::ValuesIn(cpu_levels()),
                         [](const auto& one) { return std::string(name_of_cpu_level(one.param)); });

TEST_P(GateTest, EqualsFloat64) {
  at::manual_seed(1);
  for (const Gate kind : {Gate::Silu, Gate::GeluTanh}) {
    for (const int64_t count : {1, 15, 64, 1003, 70000}) {
      const at::Tensor up = at::randn({count});
      at::Tensor x = at::randn({count}) * 4;
      const at::Tensor exact = exact_gate(kind, x, up);
      gate(kind, x, up, GetParam());
      const at::Tensor gap = (x.to(at::kDouble) - exact).abs() / (exact.abs() + 1e-6);
      EXPECT_LT(gap.max().item<double>(), 5e-6) << count;
    }
  }
}

TEST_P(GateTest, HoldsAtTheEndsOfTheRange) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Gate kind : {Gate::Silu, Gate::GeluTanh}) {
    at::Tensor x = at::tensor({-1e4F, -90.0F, 0.0F, 90.0F, 1e4F, infinity, std::nanf("")});
    gate(kind, x, at::ones_like(x), GetParam());
    EXPECT_NEAR(x[0].item<float>(), 0, 1e-6);
    EXPECT_NEAR(x[1].item<float>(), 0, 1e-6);
    EXPECT_EQ(x[2].item<float>(), 0);
    EXPECT_EQ(x[3].item<float>(), 90);
    EXPECT_EQ(x[4].item<float>(), 1e4F);
    EXPECT_EQ(x[5].item<float>(), infinity);
    EXPECT_TRUE(std::isnan(x[6].item<float>()));
  }
}

TEST_P(GateTest, RoundsOnceInHalfPrecision) {
  at::manual_seed(2);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor first = at::randn({501}).to(type), up = at::randn({501}).to(type);
    at::Tensor wide = first.to(at::kFloat);
    gate(Gate::Silu, wide, up.to(at::kFloat), GetParam());
    at::Tensor half = first.clone();
    gate(Gate::Silu, half, up, GetParam());
    EXPECT_TRUE(at::equal(half, wide.to(type)));
  }
}

TEST(TakesGate, OneTypeAndNothingTrained) {
  const at::Tensor x = at::zeros({2, 3});
  EXPECT_TRUE(takes_gate(x, x));
  EXPECT_FALSE(takes_gate(x, x.to(at::kHalf)));
  EXPECT_FALSE(takes_gate(x, at::zeros({2, 3}).requires_grad_(true)));
  EXPECT_FALSE(takes_gate(at::zeros({3, 2}).t(), at::zeros({3, 2}).t()));
}

}  // namespace
}  // namespace prunus::kernel::gate_test
