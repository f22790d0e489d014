#include "prunus/train/loss.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace prunus::loss_test {
namespace {

constexpr int64_t kTokens = 6;
constexpr int64_t kVocab = 11;

struct Drawn {
  at::Tensor student, teacher, targets;
};

Drawn drawn() {
  at::manual_seed(5);
  return {at::randn({kTokens, kVocab}) * 2, at::randn({kTokens, kVocab}) * 2,
          at::randint(0, kVocab, {kTokens}, at::kLong)};
}

// The whole expression in float64 with autograd's gradient.
struct Plain {
  double objective = 0, ce = 0, kl = 0;
  at::Tensor gradient;
};

Plain plain(const Drawn& drawn, const LossWeights& weights) {
  const at::Tensor s = drawn.student.to(at::kDouble).requires_grad_(true);
  const at::Tensor t = drawn.teacher.to(at::kDouble);
  const at::Tensor ce = -at::log_softmax(s, 1).gather(1, drawn.targets.unsqueeze(1)).sum();
  const at::Tensor log_q = at::log_softmax(s / weights.temperature, 1);
  const at::Tensor log_p = at::log_softmax(t / weights.temperature, 1);
  at::Tensor kl;
  if (weights.top_k == 0) {
    kl = (log_p.exp() * (log_p - log_q)).sum();
  } else {
    const at::Tensor index = std::get<1>(t.topk(weights.top_k, 1));
    const at::Tensor p = log_p.exp().gather(1, index);
    const at::Tensor q = log_q.exp().gather(1, index);
    const at::Tensor p_rest = 1 - p.sum(1);
    const at::Tensor q_rest = 1 - q.sum(1);
    kl = (p * (p.log() - q.log())).sum() + (p_rest * (p_rest.log() - q_rest.log())).sum();
  }
  const at::Tensor objective =
      weights.ce * ce + weights.kl * weights.temperature * weights.temperature * kl;
  objective.backward();
  return {objective.item<double>(), ce.item<double>(), kl.item<double>(), s.grad()};
}

void expect_equal(const LossWeights& weights) {
  const Drawn one = drawn();
  const Plain want = plain(one, weights);
  at::Tensor logits = one.student.clone();
  const LossSums got = logits_loss(logits, one.targets, one.teacher.clone(), weights, true);
  EXPECT_NEAR(got.ce, want.ce, 1e-5 * want.ce);
  EXPECT_NEAR(got.kl, want.kl, 1e-5 * want.kl);
  EXPECT_NEAR(got.objective, want.objective, 1e-5 * want.objective);
  EXPECT_EQ(got.targets, kTokens);
  EXPECT_LT((logits.to(at::kDouble) - want.gradient).abs().max().item<double>(), 2e-6);
}

TEST(LogitsLoss, EqualsAutogradOfTheFullDivergence) { expect_equal({.ce = 0.3, .kl = 0.9}); }

TEST(LogitsLoss, EqualsAutogradWithATemperature) {
  expect_equal({.ce = 0.3, .kl = 0.9, .temperature = 2.5});
}

TEST(LogitsLoss, EqualsAutogradWithABucketForTheRest) {
  expect_equal({.ce = 0.3, .kl = 0.9, .temperature = 1.5, .top_k = 4});
}

TEST(LogitsLoss, BucketOverTheWholeVocabularyIsTheFullDivergence) {
  const Drawn one = drawn();
  at::Tensor a = one.student.clone();
  at::Tensor b = one.student.clone();
  const LossSums all = logits_loss(a, one.targets, one.teacher.clone(), {.kl = 1}, true);
  const LossSums top =
      logits_loss(b, one.targets, one.teacher.clone(), {.kl = 1, .top_k = kVocab}, true);
  EXPECT_EQ(all.kl, top.kl);
  EXPECT_TRUE(at::equal(a, b));
}

TEST(LogitsLoss, BucketIsALowerBoundOfTheFullDivergence) {
  const Drawn one = drawn();
  at::Tensor a = one.student.clone();
  at::Tensor b = one.student.clone();
  const double all = logits_loss(a, one.targets, one.teacher.clone(), {.kl = 1}, false).kl;
  const double top =
      logits_loss(b, one.targets, one.teacher.clone(), {.kl = 1, .top_k = 3}, false).kl;
  EXPECT_LT(top, all);
  EXPECT_GT(top, 0);
}

TEST(LogitsLoss, OfTheTeacherItselfHasNoDivergenceAndNoGradient) {
  const Drawn one = drawn();
  at::Tensor logits = one.student.clone();
  const LossSums sums =
      logits_loss(logits, one.targets, one.student.clone(), {.ce = 0, .kl = 1}, true);
  EXPECT_NEAR(sums.kl, 0, 1e-5);
  EXPECT_LT(logits.abs().max().item<double>(), 1e-6);
}

TEST(LogitsLoss, WithoutATeacherIsCrossEntropy) {
  const Drawn one = drawn();
  const Plain want = plain(one, {.ce = 1});
  at::Tensor logits = one.student.clone();
  const LossSums got = logits_loss(logits, one.targets, {}, {}, true);
  EXPECT_NEAR(got.objective, want.ce, 1e-5 * want.ce);
  EXPECT_LT((logits.to(at::kDouble) - want.gradient).abs().max().item<double>(), 1e-6);
}

TEST(LogitsLoss, SurvivesLogitsThatLeaveNothingForTheRest) {
  at::Tensor student = at::zeros({1, 4});
  at::Tensor teacher = at::tensor({500.f, 0.f, 0.f, 0.f}).view({1, 4});
  const LossSums sums =
      logits_loss(student, at::zeros({1}, at::kLong), teacher, {.kl = 1, .top_k = 1}, true);
  EXPECT_NEAR(sums.kl, std::log(4.0), 1e-5);
  EXPECT_TRUE(at::isfinite(student).all().item<bool>());
}

}  // namespace
}  // namespace prunus::loss_test
