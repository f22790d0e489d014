#include "prunus/train/frozen_weight.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace prunus::frozen_weight_test {
namespace {

at::Tensor drawn(c10::IntArrayRef shape, int64_t seed) {
  at::manual_seed(static_cast<uint64_t>(seed));
  return at::randn(shape);
}

struct Case {
  at::Tensor x = drawn({2, 5, 7}, 1).requires_grad_(true);
  at::Tensor w = drawn({4, 7}, 2);
  at::Tensor bias = drawn({4}, 3);
  at::Tensor a = drawn({3, 7}, 4).requires_grad_(true);
  at::Tensor b = drawn({4, 3}, 5).requires_grad_(true);
  at::Tensor upstream = drawn({2, 5, 4}, 6);
  LoraPair pair{a, b, 2.0};
};

struct Gradients {
  at::Tensor y, x, a, b;
};

Gradients of(Case& one, const at::Tensor& y) {
  y.backward(one.upstream);
  Gradients result{y.detach(), one.x.grad().clone(), one.a.grad().clone(), one.b.grad().clone()};
  for (at::Tensor* tensor : {&one.x, &one.a, &one.b}) tensor->mutable_grad().reset();
  return result;
}

void expect_same(const Gradients& got, const Gradients& want) {
  EXPECT_TRUE(at::allclose(got.y, want.y, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(got.x, want.x, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(got.a, want.a, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(got.b, want.b, 1e-5, 1e-5));
}

TEST(AdaptedLinear, EqualsPlainAutogradOfTheFormula) {
  Case one;
  const Gradients want = of(
      one, at::linear(one.x, one.w, one.bias) + 2.0 * at::linear(at::linear(one.x, one.a), one.b));
  const Gradients got =
      of(one, adapted_linear(one.x, FrozenWeight::stored(one.w), one.bias, &one.pair, {}));
  expect_same(got, want);
}

TEST(AdaptedLinear, MaskedEqualsTheUpdateCutToTheWeightsOwnNonZeros) {
  Case one;
  one.w.masked_fill_(drawn({4, 7}, 9) > 0, 0.0);
  const at::Tensor keep = (one.w != 0).to(at::kFloat);
  const Gradients want =
      of(one, at::linear(one.x, one.w + 2.0 * at::mm(one.b, one.a) * keep, one.bias));
  const Gradients got = of(one, adapted_linear(one.x, FrozenWeight::stored(one.w), one.bias,
                                               &one.pair, {.masked = true}));
  expect_same(got, want);
}

// Row 0 has weights that are too small for INT8 beside its largest, and true zeros.
TEST(AdaptedLinear, AnInt8WeightIsMaskedByItsOwnZerosAndNotByRoundedOnes) {
  Case one;
  one.w = at::tensor({8.0, 0.01, 0.0, -0.01, 0.0, 4.0, 0.02}, at::kFloat).repeat({4, 1});
  const FrozenWeight frozen = FrozenWeight::int8(one.w, /*sparse=*/true);
  const at::Tensor rounded = at::tensor({127.0, 0.0, 0.0, 0.0, 0.0, 64.0, 0.0}) * (8.0 / 127);
  EXPECT_TRUE(at::allclose(frozen.dense(at::kFloat)[0], rounded.to(at::kFloat)));
  EXPECT_EQ(frozen.bytes(), 4 * 7 + 4 * 4);
  const at::Tensor keep = at::tensor({1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0}, at::kFloat);
  const at::Tensor base = frozen.dense(at::kFloat).clone();
  const Gradients want =
      of(one, at::linear(one.x, base + 2.0 * at::mm(one.b, one.a) * keep, one.bias));
  const Gradients got =
      of(one, adapted_linear(one.x, frozen, one.bias, &one.pair, {.masked = true}));
  expect_same(got, want);
}

// 1e-41 is zero in bfloat16.
TEST(AdaptedLinear, AWeightIsMaskedByItsFileAndNotByTheProductsPrecision) {
  const at::Tensor w = at::tensor({1.0, 1e-41, 0.0}, at::kFloat).view({1, 3});
  const LoraPair pair{at::ones({1, 3}), at::ones({1, 1}), 1.0};
  const at::Tensor y = adapted_linear(at::ones({1, 3}), FrozenWeight::stored(w), {}, &pair,
                                      {.compute = at::kBFloat16, .masked = true});
  EXPECT_EQ(y.item<double>(), 3.0);  // (1 + 1) + (0 + 1) + 0
}

TEST(AdaptedLinear, ReadsAHalfPrecisionWeightWithoutChangingTheMathematics) {
  Case one;
  const at::Tensor half = one.w.to(at::kBFloat16);
  const Gradients want = of(one, at::linear(one.x, half.to(at::kFloat)) +
                                     2.0 * at::linear(at::linear(one.x, one.a), one.b));
  const Gradients got =
      of(one, adapted_linear(one.x, FrozenWeight::stored(half), {}, &one.pair, {}));
  expect_same(got, want);
}

TEST(AdaptedLinear, DropoutKeepsTheMeanAndItsSeedDecidesTheMask) {
  const at::Tensor x = at::ones({1, 400, 50});
  const at::Tensor w = at::zeros({1, 50});
  const LoraPair pair{at::ones({1, 50}), at::ones({1, 1}), 1.0};
  const AdaptedLinearOptions options{.dropout = 0.25, .dropout_seed = 7};
  const FrozenWeight weight = FrozenWeight::stored(w);
  const at::Tensor y = adapted_linear(x, weight, {}, &pair, options);
  EXPECT_NEAR(y.mean().item<double>(), 50.0, 0.5);
  EXPECT_GT(y.std().item<double>(), 1.0);
  EXPECT_TRUE(at::equal(y, adapted_linear(x, weight, {}, &pair, options)));
  EXPECT_FALSE(
      at::equal(y, adapted_linear(x, weight, {}, &pair, {.dropout = 0.25, .dropout_seed = 8})));
}

TEST(AdaptedLinear, DropoutsGradientUsesTheSameMask) {
  Case one;
  const AdaptedLinearOptions options{.dropout = 0.5, .dropout_seed = 3};
  const FrozenWeight weight = FrozenWeight::stored(one.w);
  // The mask shows itself through the identity adapter: y = x∘m.
  const LoraPair eye{at::eye(7), at::eye(7), 1.0};
  const at::Tensor mask = adapted_linear(
      at::ones({2, 5, 7}), FrozenWeight::stored(at::zeros({7, 7})), {}, &eye, options);
  const Gradients want =
      of(one, at::linear(one.x, one.w) + 2.0 * at::linear(at::linear(one.x * mask, one.a), one.b));
  expect_same(of(one, adapted_linear(one.x, weight, {}, &one.pair, options)), want);
}

TEST(FrozenWeight, Int8IsWithinHalfAStepOfEveryWeight) {
  const at::Tensor w = drawn({3, 150}, 8) * at::tensor({1.0, 100.0, 1e-3}).view({3, 1});
  const FrozenWeight frozen = FrozenWeight::int8(w);
  const at::Tensor back = frozen.dense(at::kFloat);
  for (int64_t begin = 0; begin < 150; begin += FrozenWeight::kInt8Block) {
    const int64_t count = std::min(FrozenWeight::kInt8Block, int64_t{150} - begin);
    const at::Tensor part = w.narrow(1, begin, count);
    const at::Tensor step = part.abs().amax(1, true) / 127;
    const at::Tensor error = (back.narrow(1, begin, count) - part).abs();
    EXPECT_TRUE((error <= 0.5001 * step).all().item<bool>()) << "block at " << begin;
  }
  EXPECT_EQ(frozen.bytes(), 3 * 150 + 3 * 3 * 4);
}

TEST(FrozenWeight, Int8OfZerosIsZero) {
  const FrozenWeight frozen = FrozenWeight::int8(at::zeros({2, 70}));
  EXPECT_TRUE(at::equal(frozen.dense(at::kFloat), at::zeros({2, 70})));
}

}  // namespace
}  // namespace prunus::frozen_weight_test
