#include "prunus/model/lm_head.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace prunus::test {
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

}  // namespace
}  // namespace prunus::test
