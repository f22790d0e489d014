#include "prunus/model/lm_head.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace prunus::test::lm_head_test {
namespace {

TEST(LmHead, LossAndGradientEqualFloat64CrossEntropy) {
  const Model model = tiny_model({});
  const at::Tensor hidden = at::randn({7, 16});
  const at::Tensor targets = at::tensor({3, 0, 28, 5, 5, 1, 2}, at::kLong);
  const auto weights = copy_weights(model);
  at::Tensor x = hidden.to(at::kDouble).requires_grad_(true);
  const at::Tensor norm = weights->tensors.at("model.norm.weight").to(at::kDouble);
  const at::Tensor head = weights->tensors.at("lm_head.weight").to(at::kDouble);
  const at::Tensor normed = x / (x.square().mean(-1, true) + 1e-5).sqrt() * norm;
  const at::Tensor nll =
      -at::log_softmax(at::matmul(normed, head.t()), 1).gather(1, targets.unsqueeze(1)).squeeze(1);
  (0.25 * nll.sum()).backward();

  const LmHead product(model, at::kCPU);
  const LmHead::Loss loss = product.loss_and_gradient(hidden, targets, 0.25);
  EXPECT_NEAR(loss.nll_sum, nll.sum().item<double>(), 1e-5 * nll.sum().item<double>());
  EXPECT_LT(relative_error(loss.grad_hidden, x.grad()), 1e-5);
  EXPECT_LT(relative_error(product.token_nll(hidden, targets), nll.detach()), 1e-5);
}

// More ids and more tokens than a piece has, with and without a cap; some targets nearly certain.
TEST(LmHead, LossAndGradientInPiecesEqualThoseOfOneFloat64Graph) {
  at::manual_seed(6);
  for (const char* family : {"llama", "gemma2"}) {
    const Model plain = tiny_model({.family = family, .vocab = 2600});
    const auto weights = copy_weights(plain);
    const std::string name = plain.tensor(Role::LmHead).name;
    weights->tensors.at(name).narrow(0, 1500, 40).mul_(30);
    const Model model(plain.config(), weights);
    const at::Tensor hidden = at::randn({1100, 16});
    at::Tensor targets = at::randint(2600, {1100}, at::kLong);
    Model exact = model;
    exact.set_precision(at::kDouble);
    const FinalNorm norm(exact, at::kCPU);
    at::Tensor x = hidden.to(at::kDouble).requires_grad_(true);
    at::Tensor logits = at::matmul(norm(x), weights->tensors.at(name).to(at::kDouble).t());
    const double cap = model.config().logit_softcap;
    if (cap != 0) logits = (logits / cap).tanh() * cap;
    targets.narrow(0, 0, 300).copy_(logits.argmax(1).narrow(0, 0, 300));
    const at::Tensor nll = -at::log_softmax(logits, 1).gather(1, targets.unsqueeze(1)).squeeze(1);
    (0.25 * nll.sum()).backward();

    const LmHead::Loss loss = LmHead(model, at::kCPU).loss_and_gradient(hidden, targets, 0.25);
    EXPECT_NEAR(loss.nll_sum, nll.sum().item<double>(), 1e-6 * nll.sum().item<double>()) << family;
    EXPECT_LT(relative_error(loss.grad_hidden, x.grad()), 1e-5) << family;
    EXPECT_LT(relative_error(loss.log_sum_exp, logits.logsumexp({1}).detach()), 1e-6) << family;
  }
}

// More ids and more tokens than a piece has; predictions flat, sharp and in between.
TEST(LmHead, EntropyAndGradientInPiecesEqualThoseOfOneFloat64Graph) {
  at::manual_seed(7);
  for (const char* family : {"llama", "gemma2"}) {
    const Model plain = tiny_model({.family = family, .vocab = 2600});
    const auto weights = copy_weights(plain);
    const std::string name = plain.tensor(Role::LmHead).name;
    weights->tensors.at(name).narrow(0, 1500, 40).mul_(10);
    const Model model(plain.config(), weights);
    const at::Tensor hidden = at::randn({1100, 16});
    Model exact = model;
    exact.set_precision(at::kDouble);
    const FinalNorm norm(exact, at::kCPU);
    at::Tensor x = hidden.to(at::kDouble).requires_grad_(true);
    at::Tensor head = weights->tensors.at(name).to(at::kDouble).requires_grad_(true);
    at::Tensor logits = at::matmul(norm(x), head.t());
    const double cap = model.config().logit_softcap;
    if (cap != 0) logits = (logits / cap).tanh() * cap;
    const at::Tensor log_p = at::log_softmax(logits, 1);
    const at::Tensor entropy = -(log_p.exp() * log_p).sum(1);
    (0.25 * entropy.sum()).backward();

    const LmHead product(model, at::kCPU);
    const LmHead::Loss loss = product.entropy_and_gradient(hidden, 0.25);
    EXPECT_NEAR(loss.nll_sum, entropy.sum().item<double>(), 1e-5 * entropy.sum().item<double>());
    EXPECT_LT(relative_error(loss.entropy, entropy.detach()), 1e-5) << family;
    EXPECT_LT(relative_error(loss.grad_hidden, x.grad()), 1e-4) << family;
    at::Tensor rows = at::zeros_like(head);
    product.for_each_weight_rows(
        {loss}, {at::zeros({1100}, at::kLong)}, 0.25,
        [&](int64_t begin, const at::Tensor& weight, size_t, const at::Tensor& grad) {
          rows.narrow(0, begin, weight.size(0))
              .copy_(at::matmul(grad.t(), product.norm().scaled(loss.normalised)));
        });
    EXPECT_LT(relative_error(rows, head.grad()), 1e-4) << family;
  }
}

TEST(LmHead, DrawsTokensAsItPredictsThem) {
  const Model model = tiny_model({});
  at::manual_seed(8);
  const at::Tensor one = at::randn({1, 16});
  const LmHead head(model, at::kCPU);
  const at::Tensor p = at::softmax(head.logits(one)[0].to(at::kDouble), 0);
  constexpr int64_t kDraws = 4000;
  const at::Tensor hidden = one.expand({kDraws, 16}).contiguous();
  const at::Tensor drawn = head.draw(hidden, 3);
  for (int64_t id = 0; id < 29; ++id) {
    const double wanted = p[id].item<double>();
    const double got = static_cast<double>((drawn == id).sum().item<int64_t>()) / kDraws;
    EXPECT_NEAR(got, wanted, 5 * std::sqrt(wanted / kDraws) + 1e-3) << id;
  }
  EXPECT_TRUE(at::equal(head.draw(hidden, 3), drawn));
  EXPECT_FALSE(at::equal(head.draw(hidden, 4), drawn));
}

// More ids and more tokens than stand in memory at once.
TEST(LmHead, ScoresEqualFloat64LogSoftmax) {
  at::manual_seed(5);
  for (const char* family : {"llama", "gemma2"}) {  // with a cap on the logits
    const Model model = tiny_model({.family = family, .vocab = 2600});
    const at::Tensor hidden = at::randn({1100, 16});
    const LmHead head(model, at::kCPU);
    Model exact = model;
    exact.set_precision(at::kDouble);
    const at::Tensor logits = LmHead(exact, at::kCPU).logits(hidden.to(at::kDouble));
    const at::Tensor best = logits.argmax(1);
    // Places out of order and twice; some targets are the likeliest id.
    const at::Tensor places = at::cat({at::randint(1100, {500}, at::kLong), at::arange(1100)});
    at::Tensor targets = at::randint(2600, {1600}, at::kLong);
    targets.narrow(0, 0, 400).copy_(best.index_select(0, places.narrow(0, 0, 400)));
    const LmHead::Scored scored = head.score(hidden, places, targets);
    const at::Tensor expected = at::log_softmax(logits, 1).index({places, targets});
    EXPECT_LT(relative_error(scored.log_p, expected), 1e-6) << family;
    EXPECT_TRUE(at::equal(scored.likeliest, best.index_select(0, places).eq(targets))) << family;
  }
}

// The log of what is left of 1 would be lost in the sum of two large numbers.
TEST(LmHead, NearlyCertainTargetsKeepTheirDigits) {
  Model model = tiny_model({});
  const auto weights = copy_weights(model);
  weights->tensors.at("lm_head.weight").mul_(100);
  const Model sharp(model.config(), weights);
  const at::Tensor hidden = at::randn({200, 16});
  Model exact = sharp;
  exact.set_precision(at::kDouble);
  const at::Tensor logits = LmHead(exact, at::kCPU).logits(hidden.to(at::kDouble));
  const auto [log_p, best] = at::log_softmax(logits, 1).max(1);
  const at::Tensor nll = LmHead(sharp, at::kCPU).token_nll(hidden, best);
  EXPECT_LT((nll + log_p).abs().max().item<double>(), 2e-5);
}

TEST(LmHead, HalfPrecisionRoundsLogitsAlone) {
  Model model = tiny_model({.vocab = 1500});
  const at::Tensor hidden = at::randn({30, 16});
  const at::Tensor targets = at::randint(1500, {30}, at::kLong);
  const at::Tensor exact = LmHead(model, at::kCPU).token_nll(hidden, targets);
  model.set_precision(at::kBFloat16);
  const at::Tensor nll = LmHead(model, at::kCPU).token_nll(hidden, targets);
  EXPECT_EQ(nll.scalar_type(), at::kFloat);
  EXPECT_LT((nll - exact).abs().max().item<double>(), 0.05);
}

}  // namespace
}  // namespace prunus::test::lm_head_test
