#include "prunus/model/final_norm.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::final_norm_test {
namespace {

// What the family's norm makes of one row, gain and bias included; a plain loop in FP64.
at::Tensor normed_row(const Model& model, const at::Tensor& row) {
  const NormKind kind = model.config().family->norm;
  const at::Tensor weight = model.load(model.tensor(Role::FinalNorm), at::kCPU);
  const auto size = static_cast<double>(row.numel());
  double mean = 0;
  double square = 0;
  for (int64_t i = 0; kind == NormKind::Layer && i < row.numel(); ++i) {
    mean += row[i].item<double>() / size;
  }
  for (int64_t i = 0; i < row.numel(); ++i) square += std::pow(row[i].item<double>() - mean, 2);
  const double root = std::sqrt(square / size + model.config().norm_eps);
  at::Tensor result = at::empty({row.numel()}, at::kDouble);
  for (int64_t i = 0; i < row.numel(); ++i) {
    double value = (row[i].item<double>() - mean) / root;
    value *= weight[i].item<double>() + (kind == NormKind::RmsPlusOne ? 1 : 0);
    if (kind == NormKind::Layer) {
      value += model.load(model.tensor(Role::FinalNormBias), at::kCPU)[i].item<double>();
    }
    result[i] = value;
  }
  return result;
}

TEST(FinalNorm, IsTheFamilysNormOfEachRow) {
  for (const char* name : {"llama_gqa", "gemma2", "gpt2"}) {
    const Model model = open_model(golden_dir(name));
    const at::Tensor hidden = at::randn({2, 3, model.config().hidden_size}) + 0.5;
    const at::Tensor got = FinalNorm(model, at::kCPU)(hidden);
    ASSERT_EQ(got.sizes(), hidden.sizes());
    EXPECT_LT(relative_error(got[1][2], normed_row(model, hidden[1][2])), 1e-6) << name;
  }
}

TEST(FinalNorm, CountsItsBytesInTheModelsPrecision) {
  Model model = open_model(golden_dir("gpt2"));  // 24 gains and 24 biases
  EXPECT_EQ(FinalNorm(model, at::kCPU).bytes(), 48 * 4);
  model.set_precision(at::kDouble);
  EXPECT_EQ(FinalNorm(model, at::kCPU).bytes(), 48 * 8);
  EXPECT_EQ(FinalNorm(model, at::kCPU).gain().scalar_type(), at::kDouble);
}

TEST(FinalNorm, TakesAnotherGainAsTheFileWouldHaveIt) {
  const Model model = open_model(golden_dir("gemma2"));  // 1 + w
  const at::Tensor gain = FinalNorm(model, at::kCPU, at::full({24}, 0.5f)).gain();
  EXPECT_TRUE(at::equal(gain, at::full({24}, 1.5f)));
}

TEST(FinalNorm, PassesHiddenStatesOnWhereTheModelHasNone) {
  const Model model = open_model(golden_dir("opt_post"));
  const FinalNorm norm(model, at::kCPU);
  const at::Tensor hidden = at::randn({4, 32});
  EXPECT_TRUE(at::equal(norm(hidden), hidden));
  EXPECT_TRUE(at::equal(norm.gain(), at::ones({32})));
  EXPECT_FALSE(norm.bias().defined());
}

class ScaleHook : public LinearHook {
 public:
  at::Tensor linear(Role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor&) override {
    return at::linear(input, weight);
  }
  at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain,
                   const at::Tensor& bias) override {
    seen = role;
    return LinearHook::scale(role, normalised, gain, bias) * 2;
  }
  Role seen = Role::LmHead;
};

TEST(FinalNorm, LetsATapScaleInItsPlace) {
  const Model model = open_model(golden_dir("gpt2"));
  const FinalNorm norm(model, at::kCPU);
  const at::Tensor normalised = norm.normalised(at::randn({2, 24}));
  ScaleHook hook;
  EXPECT_TRUE(at::equal(norm.scaled(normalised, &hook), norm.scaled(normalised) * 2));
  EXPECT_EQ(hook.seen, Role::FinalNorm);
}

TEST(FinalNorm, DividesTheHeadsRowsByTheirLengthWhereTheFamilyDoes) {
  const at::Tensor rows = at::zeros({3, 24});
  rows[0][0] = 3;
  rows[0][5] = 4;
  rows[1][7] = -0.25;  // the third row is zero and stays so
  const Model normalising = open_model(golden_dir("baichuan2_7b"));
  const at::Tensor got = FinalNorm(normalising, at::kCPU).head_rows(rows);
  EXPECT_FLOAT_EQ(got[0][0].item<float>(), 0.6f);
  EXPECT_FLOAT_EQ(got[0][5].item<float>(), 0.8f);
  EXPECT_FLOAT_EQ(got[1][7].item<float>(), -1.0f);
  EXPECT_EQ(got[2].abs().max().item<float>(), 0.0f);
  const Model plain = open_model(golden_dir("baichuan_7b"));
  EXPECT_TRUE(at::equal(FinalNorm(plain, at::kCPU).head_rows(rows), rows));
}

TEST(FinalNorm, TheGradientOfRowsByTheirLengthIsAutogradsOwn) {
  at::manual_seed(3);
  at::Tensor rows = at::randn({4, 24}, at::kDouble);
  rows[2].fill_(0);
  rows[3].mul_(1e-10);  // both stay shorter than what is divided by
  rows.requires_grad_(true);
  const at::Tensor grad = at::randn({4, 24}, at::kDouble);
  for (const char* name : {"baichuan2_7b", "baichuan_7b"}) {
    const Model model = open_model(golden_dir(name));
    const FinalNorm norm(model, at::kCPU);
    rows.mutable_grad().reset();
    (norm.head_rows(rows) * grad).sum().backward();
    const at::Tensor got = norm.head_rows_backward(rows.detach(), grad);
    EXPECT_TRUE(at::allclose(got, rows.grad(), 1e-10, 1e-12)) << name;
  }
}

// The cap of this model is 5: x becomes 5·tanh(x/5), whose slope is 1 − tanh².
TEST(FinalNorm, CapsLogitsAndTheirGradients) {
  const Model model = open_model(golden_dir("gemma2"));
  const FinalNorm norm(model, at::kCPU);
  EXPECT_TRUE(norm.caps());
  const auto half = static_cast<float>(5 * std::atanh(0.5));
  at::Tensor logits = at::tensor({0.0f, half, -half, 500.0f});
  norm.cap(logits);
  EXPECT_TRUE(at::allclose(logits, at::tensor({0.0f, 2.5f, -2.5f, 5.0f})));
  const at::Tensor grad = at::tensor({1.0f, 2.0f, -4.0f, 8.0f});
  norm.cap_backward(grad, logits);
  EXPECT_TRUE(at::allclose(grad, at::tensor({1.0f, 1.5f, -3.0f, 0.0f})));
}

TEST(FinalNorm, LeavesLogitsAsTheyAreWithoutACap) {
  const Model model = tiny_model({});
  const FinalNorm norm(model, at::kCPU);
  EXPECT_FALSE(norm.caps());
  at::Tensor logits = at::tensor({40.0f, -7.0f});
  norm.cap(logits);
  EXPECT_TRUE(at::equal(logits, at::tensor({40.0f, -7.0f})));
  norm.cap_backward(logits, at::ones({2}));
  EXPECT_TRUE(at::equal(logits, at::tensor({40.0f, -7.0f})));
}

}  // namespace
}  // namespace prunus::test::final_norm_test
