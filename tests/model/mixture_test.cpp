// A mixture whose tokens are dispatched to their experts against the wide form that runs all
// experts on all tokens (support/wide_mixture.h). In FP64, on every mixture of tests/model/golden.
#include "prunus/model/mixture.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "support/golden_models.h"
#include "support/tiny_model.h"
#include "support/wide_mixture.h"

namespace prunus::test::mixture_test {
namespace {

constexpr double kRounding = 1e-12;

// Asks for experts in one of the forms, and counts the products.
class CountingHook : public LinearHook {
 public:
  explicit CountingHook(Experts form) : form_(form) {}
  Experts experts() const override { return form_; }
  at::Tensor linear(Role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor&) override {
    return at::linear(input, weight);
  }
  at::Tensor expert_linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                           const ExpertPart& part) override {
    if (role == Role::GateProj) shown.push_back(part.expert);
    if (role == Role::GateProj && input.size(0) == 0) ++idle;
    return LinearHook::expert_linear(role, input, weight, part);
  }
  std::vector<int> shown;
  int idle = 0;

 private:
  Experts form_;
};

class Mixture : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_.set_precision(at::kDouble);
    layer_ = static_cast<int>(model_.layer_count()) - 1;  // has experts in each of them
    weights_ = model_.load_block(layer_, at::kCPU);
    ASSERT_GT(experts(), 0);
    at::manual_seed(3);
    hidden_ = at::randn({2, 7, model_.config().hidden_size}, at::kDouble);
  }
  int64_t experts() const { return model_.config().layers[static_cast<size_t>(layer_)].experts; }
  at::Tensor run(const at::Tensor& hidden, LinearHook* hook) const {
    return mixture(model_.config(), layer_, weights_, hidden, hook);
  }

  Model model_ = open_model(golden_dir(GetParam()));
  int layer_ = 0;
  BlockWeights weights_;
  at::Tensor hidden_;
};

TEST_P(Mixture, IsTheSameInEveryForm) {
  WideHook wide;
  const at::Tensor wanted = run(hidden_, &wide);
  EXPECT_LT(relative_error(run(hidden_, nullptr), wanted), kRounding);
  for (const auto form : {LinearHook::Experts::Chosen, LinearHook::Experts::All}) {
    CountingHook hook(form);
    EXPECT_LT(relative_error(run(hidden_, &hook), wanted), kRounding);
  }
  // Tokens alone, and rows in front of rows.
  EXPECT_LT(relative_error(run(hidden_.flatten(0, 1), nullptr), wanted.flatten(0, 1)), kRounding);
  const at::Tensor deep = hidden_.unsqueeze(0);
  EXPECT_LT(relative_error(run(deep, nullptr), wanted.unsqueeze(0)), kRounding);
}

TEST_P(Mixture, HasTheSameGradientsInEveryForm) {
  const at::Tensor direction = at::randn_like(hidden_);
  const auto gradients = [&](LinearHook* hook) {
    const at::AutoGradMode on(true);
    at::Tensor x = hidden_.clone().requires_grad_(true);
    BlockWeights own = weights_;
    std::vector<at::Tensor> found;
    std::vector<at::Tensor*> leaves;
    for (int role = 0; role < kRoleCount; ++role) {
      at::Tensor& weight = own[static_cast<Role>(role)];
      if (!weight.defined()) continue;
      weight = weight.clone().requires_grad_(true);
      leaves.push_back(&weight);
    }
    mixture(model_.config(), layer_, own, x, hook).backward(direction);
    found.push_back(x.grad());
    for (const at::Tensor* leaf : leaves) {
      if (leaf->grad().defined()) found.push_back(leaf->grad());
    }
    return found;
  };
  WideHook wide;
  const auto wanted = gradients(&wide);
  EXPECT_GE(wanted.size(), 5U);  // of the input, router, gate, up, down
  CountingHook chosen(LinearHook::Experts::Chosen), all(LinearHook::Experts::All);
  for (LinearHook* hook : {static_cast<LinearHook*>(nullptr), static_cast<LinearHook*>(&chosen),
                           static_cast<LinearHook*>(&all)}) {
    const auto got = gradients(hook);
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LT(relative_error(got[i], wanted[i]), kRounding) << i;
    }
  }
}

TEST_P(Mixture, ShowsTheExpertsThatATapAsksFor) {
  const at::Tensor token = hidden_.narrow(0, 0, 1).narrow(1, 0, 1);
  CountingHook chosen(LinearHook::Experts::Chosen), all(LinearHook::Experts::All);
  run(token, &chosen);
  run(token, &all);
  EXPECT_EQ(static_cast<int64_t>(chosen.shown.size()), model_.config().experts_per_token);
  EXPECT_EQ(chosen.idle, 0);
  ASSERT_EQ(static_cast<int64_t>(all.shown.size()), experts());
  EXPECT_EQ(all.idle, experts() - model_.config().experts_per_token);
  for (size_t i = 0; i < all.shown.size(); ++i) EXPECT_EQ(all.shown[i], static_cast<int>(i));
}

// A share that underflows to 0 adds nothing, but the expert was chosen.
TEST_P(Mixture, AnExpertIsChosenWhateverItsShare) {
  weights_[Role::Router] = weights_[Role::Router] * 1e6;
  CountingHook chosen(LinearHook::Experts::Chosen);
  WideHook wide;
  const at::Tensor token = hidden_.narrow(0, 0, 1).narrow(1, 0, 1);
  EXPECT_LT(relative_error(run(token, &chosen), run(token, &wide)), kRounding);
  EXPECT_EQ(static_cast<int64_t>(chosen.shown.size()), model_.config().experts_per_token);
}

INSTANTIATE_TEST_SUITE_P(Mixtures, Mixture, testing::ValuesIn(golden_mixtures()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::mixture_test
