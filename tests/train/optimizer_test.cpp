#include "prunus/train/optimizer.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::optimizer_test {
namespace {

using Kind = OptimizerOptions::Kind;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor leaf(const at::Tensor& value) { return value.clone().set_requires_grad(true); }

void set_grad(const at::Tensor& value, const at::Tensor& grad) {
  at::Tensor shared = value;
  shared.mutable_grad() = grad.clone();
}

at::Tensor random_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn({rows, columns});
}

// One element of AdamW in FP64, written from algorithm 2 of arXiv:1711.05101.
struct Scalar {
  double w, m = 0, v = 0;
  int step = 0;

  void update(double g, double lr, double decay) {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.95, kEps = 1e-6;
    ++step;
    m = kBeta1 * m + (1 - kBeta1) * g;
    v = kBeta2 * v + (1 - kBeta2) * g * g;
    const double mean = m / (1 - std::pow(kBeta1, step));
    const double square = v / (1 - std::pow(kBeta2, step));
    w -= lr * (mean / (std::sqrt(square) + kEps) + decay * w);
  }
};

TEST(AdamW, FollowsItsFormulaForTwentySteps) {
  const at::Tensor matrix = leaf(random_matrix(3, 7, 1));
  const at::Tensor vector = leaf(random_matrix(1, 5, 2).view({5}));
  Optimizer optimizer({{"matrix", matrix}, {"vector", vector, false}},
                      {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1});
  std::vector<Scalar> expected;
  for (const auto& value : {matrix, vector}) {
    for (int64_t i = 0; i < value.numel(); ++i) {
      expected.push_back({value.flatten()[i].item<double>()});
    }
  }
  for (int step = 0; step < 20; ++step) {
    const double lr = 0.02 / (1 + step);
    const at::Tensor grad = random_matrix(1, 26, 100 + static_cast<uint64_t>(step)).view({26});
    set_grad(matrix, grad.narrow(0, 0, 21).view({3, 7}));
    set_grad(vector, grad.narrow(0, 21, 5));
    optimizer.step(lr);
    for (size_t i = 0; i < 26; ++i) {
      expected[i].update(grad[static_cast<int64_t>(i)].item<double>(), lr, i < 21 ? 0.1 : 0);
    }
  }
  const at::Tensor got = at::cat({matrix.flatten(), vector}).detach();
  for (size_t i = 0; i < 26; ++i) {
    EXPECT_NEAR(got[static_cast<int64_t>(i)].item<double>(), expected[i].w, 1e-6) << i;
  }
}

TEST(AdamW, DecaysOnlyWhereAsked) {
  const at::Tensor decayed = leaf(at::tensor({2.0f, -4.0f}));
  const at::Tensor kept = leaf(at::tensor({2.0f, -4.0f}));
  Optimizer optimizer({{"decayed", decayed}, {"kept", kept, false}}, {.weight_decay = 0.5});
  set_grad(decayed, at::zeros({2}));
  set_grad(kept, at::zeros({2}));
  optimizer.step(0.5);
  EXPECT_TRUE(at::equal(decayed.detach(), at::tensor({1.5f, -3.0f})));  // · (1 − 0.5·0.5)
  EXPECT_TRUE(at::equal(kept.detach(), at::tensor({2.0f, -4.0f})));
}

TEST(AdamW, ReadsAGradientThatIsNotContiguous) {
  const at::Tensor one = leaf(random_matrix(4, 3, 1));
  const at::Tensor other = leaf(one.detach());
  const at::Tensor transposed = random_matrix(3, 4, 2).t();
  ASSERT_FALSE(transposed.is_contiguous());
  set_grad(one, transposed.contiguous());
  at::Tensor shared = other;
  shared.mutable_grad() = transposed;
  Optimizer optimizer({{"one", one}, {"other", other}}, {});
  optimizer.step(0.1);
  EXPECT_TRUE(at::equal(one, other));
}

TEST(Optimizer, LeavesAParameterWithoutGradientAsItIs) {
  for (const Kind kind : {Kind::AdamW, Kind::Muon}) {
    const at::Tensor used = leaf(random_matrix(2, 3, 1));
    const at::Tensor unused = leaf(random_matrix(2, 3, 1));
    Optimizer optimizer({{"used", used, true, true}, {"unused", unused, true, true}},
                        {.kind = kind, .weight_decay = 0.1});
    set_grad(used, at::ones({2, 3}));
    optimizer.step(0.1);
    EXPECT_TRUE(at::equal(unused.detach(), random_matrix(2, 3, 1)));
    EXPECT_FALSE(at::equal(used.detach(), random_matrix(2, 3, 1)));
  }
}

struct Clipped {
  at::Tensor first = leaf(at::zeros({2}));
  at::Tensor second = leaf(at::zeros({2, 1}));
  at::Tensor none = leaf(at::zeros({3}));
  Optimizer optimizer{{{"first", first}, {"second", second}, {"none", none}}, {}};

  Clipped(float a, float b) {
    set_grad(first, at::tensor({a, 0.0f}));
    set_grad(second, at::tensor({0.0f, b}).view({2, 1}));
  }
  float a() const { return first.grad()[0].item<float>(); }
  float b() const { return second.grad()[1][0].item<float>(); }
};

TEST(Clip, ScalesTheWholeGradientToTheLargestNorm) {
  Clipped all(3, 4);
  EXPECT_EQ(all.optimizer.clip(2.5), 5);
  EXPECT_EQ(all.a(), 1.5f);
  EXPECT_EQ(all.b(), 2.0f);
  EXPECT_FALSE(all.none.grad().defined());
}

TEST(Clip, LeavesASmallGradientAndOnlyMeasuresWithoutALimit) {
  for (const double limit : {5.0, 6.0, 0.0}) {
    Clipped all(3, 4);
    EXPECT_EQ(all.optimizer.clip(limit), 5);
    EXPECT_EQ(all.a(), 3.0f);
    EXPECT_EQ(all.b(), 4.0f);
  }
}

TEST(Clip, AddsSquaresThatSinglePrecisionCannotHold) {
  Clipped all(3e30f, 4e30f);
  EXPECT_NEAR(all.optimizer.clip(1) / 5e30, 1, 1e-6);
  EXPECT_NEAR(all.a(), 0.6, 1e-6);
}

TEST(Clip, CountsEveryElementOfALargeGradient) {
  constexpr int64_t kCount = 9'000'000;  // several pieces
  const at::Tensor value = leaf(at::empty({kCount}));
  set_grad(value, at::ones({kCount}));
  Optimizer optimizer({{"value", value}}, {});
  EXPECT_NEAR(optimizer.clip(0), 3000, 1e-9);
}

TEST(Clip, ScalesNothingWhereTheNormIsNotFinite) {
  Clipped infinite(static_cast<float>(kInfinity), 4);
  EXPECT_EQ(infinite.optimizer.clip(1), kInfinity);
  EXPECT_EQ(infinite.b(), 4.0f);
  Clipped bad(std::nanf(""), 4);
  EXPECT_TRUE(std::isnan(bad.optimizer.clip(1)));
  EXPECT_EQ(bad.b(), 4.0f);
}

TEST(Clip, IsZeroWithoutGradients) {
  Optimizer optimizer({{"value", leaf(at::zeros({2}))}}, {});
  EXPECT_EQ(optimizer.clip(1), 0);
}

TEST(Optimizer, ForgetsGradients) {
  Clipped all(3, 4);
  all.optimizer.zero_grad();
  EXPECT_FALSE(all.first.grad().defined());
  EXPECT_EQ(all.optimizer.clip(1), 0);
}

// What Newton–Schulz does to one singular value, in FP64.
at::Tensor five_quintics(at::Tensor s) {
  for (int i = 0; i < 5; ++i) s = 3.4445 * s - 4.7750 * s.pow(3) + 2.0315 * s.pow(5);
  return s;
}

// By singular value decomposition in FP64, where the product uses matrix products only.
at::Tensor oracle_orthogonal(const at::Tensor& matrix) {
  const auto [u, s, v] = at::linalg_svd(matrix.to(at::kDouble), false);
  return at::mm(u * five_quintics(s / s.norm()), v);
}

at::Tensor muon_update(const at::Tensor& grad) {
  const at::Tensor value = leaf(at::zeros(grad.sizes()));
  Optimizer optimizer({{"w", value, true, true}}, {.kind = Kind::Muon});
  set_grad(value, grad);
  optimizer.step(1);
  const auto longest = static_cast<double>(std::max(grad.size(0), grad.size(1)));
  return value.detach() / (-0.2 * std::sqrt(longest));
}

TEST(Muon, UpdatesWithSingularValuesNearOne) {
  for (const auto& [rows, columns] : {std::pair(12, 40), std::pair(40, 12), std::pair(16, 16)}) {
    const at::Tensor update = muon_update(random_matrix(rows, columns, 3));
    ASSERT_EQ(update.sizes(), at::IntArrayRef({rows, columns}));
    const at::Tensor values = at::linalg_svdvals(update);
    EXPECT_GT(values.min().item<double>(), rows == columns ? 0.3 : 0.68);
    EXPECT_LT(values.max().item<double>(), 1.21);
  }
}

// Experts stand below or beside each other in one tensor; each has singular values of its own.
TEST(Muon, TakesEachExpertForAMatrixOfItsOwn) {
  const at::Tensor first = random_matrix(6, 9, 4), second = random_matrix(6, 9, 5) * 1e-3;
  for (const int64_t axis : {0, 1}) {
    const at::Tensor value = leaf(at::zeros(at::cat({first, second}, axis).sizes()));
    Parameter parameter{.name = "w", .value = value, .hidden_matrix = true};
    parameter.matrices[static_cast<size_t>(axis)] = 2;
    Optimizer optimizer({parameter}, {.kind = Kind::Muon});
    set_grad(value, at::cat({first, second}, axis));
    optimizer.step(1);
    const at::Tensor alone = at::cat({muon_update(first), muon_update(second)}, axis);
    EXPECT_LT((value.detach() / (-0.2 * 3) - alone).abs().max().item<double>(), 1e-5);
  }
  Parameter odd{.name = "w", .value = leaf(at::zeros({5, 4})), .hidden_matrix = true};
  odd.matrices = {2, 1};
  expect_error(ErrorKind::InvalidArgument, "2 x 1 matrices", [&] { Optimizer({odd}, {}); });
}

TEST(Muon, TakesNoNoticeOfTheGradientsSize) {
  const at::Tensor grad = random_matrix(6, 9, 4);
  const at::Tensor update = muon_update(grad);
  EXPECT_LT((muon_update(grad * 1e-12) - update).abs().max().item<double>(), 1e-4);
  EXPECT_LT((muon_update(grad * 1e12) - update).abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(at::equal(muon_update(at::zeros({6, 9})), at::zeros({6, 9})));
}

TEST(Muon, FollowsItsFormulaForThreeSteps) {
  const at::Tensor value = leaf(random_matrix(9, 5, 5));
  at::Tensor expected = value.detach().to(at::kDouble);
  at::Tensor momentum = at::zeros({9, 5}, at::kDouble);
  Optimizer optimizer({{"w", value, true, true}},
                      {.kind = Kind::Muon, .weight_decay = 0.1, .muon_momentum = 0.8});
  for (uint64_t step = 0; step < 3; ++step) {
    const at::Tensor grad = random_matrix(9, 5, 50 + step);
    set_grad(value, grad);
    optimizer.step(0.05);
    momentum = 0.8 * momentum + grad.to(at::kDouble);
    const at::Tensor update = oracle_orthogonal(grad.to(at::kDouble) + 0.8 * momentum);
    expected = expected - 0.05 * (0.2 * 3 * update + 0.1 * expected);  // √max(9, 5) = 3
  }
  EXPECT_LT((value.detach() - expected).abs().max().item<double>(), 1e-5);
}

TEST(Muon, DecaysOnlyWhereAsked) {
  const at::Tensor decayed = leaf(at::full({2, 2}, 4.0));
  const at::Tensor kept = leaf(at::full({2, 2}, 4.0));
  Optimizer optimizer({{"decayed", decayed, true, true}, {"kept", kept, false, true}},
                      {.kind = Kind::Muon, .weight_decay = 0.5});
  set_grad(decayed, at::zeros({2, 2}));
  set_grad(kept, at::zeros({2, 2}));
  optimizer.step(0.5);
  EXPECT_TRUE(at::equal(decayed.detach(), at::full({2, 2}, 3.0)));
  EXPECT_TRUE(at::equal(kept.detach(), at::full({2, 2}, 4.0)));
}

TEST(Muon, LeavesOtherParametersToAdamW) {
  std::vector<at::Tensor> ends;
  for (const Kind kind : {Kind::AdamW, Kind::Muon}) {
    const at::Tensor embedding = leaf(random_matrix(5, 4, 6));
    Optimizer optimizer({{"embedding", embedding}}, {.kind = kind, .weight_decay = 0.1});
    set_grad(embedding, random_matrix(5, 4, 7));
    optimizer.step(0.1);
    ends.push_back(embedding.detach());
  }
  EXPECT_TRUE(at::equal(ends[0], ends[1]));
}

// A matrix, an embedding and a norm, with the same gradients in every run.
struct Training {
  at::Tensor matrix = leaf(random_matrix(4, 6, 1));
  at::Tensor embedding = leaf(random_matrix(5, 4, 2));
  at::Tensor norm = leaf(random_matrix(1, 4, 3).view({4}));
  Optimizer optimizer;

  explicit Training(Kind kind)
      : optimizer({{"matrix", matrix, true, true}, {"embedding", embedding}, {"norm", norm, false}},
                  {.kind = kind, .weight_decay = 0.1}) {}

  void steps(uint64_t begin, uint64_t end) {
    for (uint64_t step = begin; step < end; ++step) {
      set_grad(matrix, random_matrix(4, 6, 10 + step));
      set_grad(embedding, random_matrix(5, 4, 20 + step));
      set_grad(norm, random_matrix(1, 4, 30 + step).view({4}));
      optimizer.step(0.01);
    }
  }
  std::vector<at::Tensor> values() const { return {matrix, embedding, norm}; }
};

TEST(OptimizerState, ContinuesInTheSameBits) {
  for (const Kind kind : {Kind::AdamW, Kind::Muon}) {
    Training whole(kind), before(kind), after(kind);
    whole.steps(0, 6);
    before.steps(0, 3);
    {
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < 3; ++i) after.values()[i].copy_(before.values()[i]);
    }
    after.optimizer.restore(before.optimizer.state());
    before.steps(10, 20);  // shares nothing with the one that goes on
    after.steps(3, 6);
    for (size_t i = 0; i < 3; ++i)
      EXPECT_TRUE(at::equal(whole.values()[i], after.values()[i])) << i;
  }
}

TEST(OptimizerState, TakesTheBytesItSays) {
  // 24 + 20 + 4 elements; Muon keeps one number for each of the 24, AdamW two.
  const std::pair<Kind, int64_t> cases[] = {{Kind::AdamW, 48 * 8}, {Kind::Muon, 24 * 4 + 24 * 8}};
  for (const auto& [kind, bytes] : cases) {
    const Training run(kind);
    EXPECT_EQ(Optimizer::state_bytes(run.optimizer.parameters(), {.kind = kind}), bytes);
    int64_t held = 0;
    for (const at::Tensor& tensor : run.optimizer.state()) {
      if (tensor.dim() > 0) held += static_cast<int64_t>(tensor.nbytes());
    }
    EXPECT_EQ(held, bytes);
  }
}

TEST(OptimizerState, IsRefusedWhereItBelongsToAnotherRun) {
  Training run(Kind::AdamW);
  run.steps(0, 1);
  const std::vector<at::Tensor> state = run.optimizer.state();
  auto changed = state;
  changed.pop_back();
  expect_error(ErrorKind::Corrupt, "8 tensors, expected 9",
               [&] { run.optimizer.restore(changed); });
  changed = state;
  changed[3] = at::zeros({4, 5});
  const at::Tensor before = state[0].clone();
  changed[0] = at::zeros_like(before);
  expect_error(ErrorKind::Corrupt, "[4, 5], expected [5, 4]",
               [&] { run.optimizer.restore(changed); });
  EXPECT_TRUE(at::equal(run.optimizer.state()[0], before));
  changed = state;
  changed[2] = state[2].to(at::kDouble);
  expect_error(ErrorKind::Corrupt, "Double, expected Float",
               [&] { run.optimizer.restore(changed); });
}

void expect_refused(const std::string& part, OptimizerOptions options) {
  expect_error(ErrorKind::InvalidArgument, part, [&] {
    Optimizer({{"w", leaf(at::zeros({2}))}}, options);
  });
}

TEST(Optimizer, RefusesOptionsOutOfRange) {
  expect_refused("beta1 1", {.beta1 = 1});
  expect_refused("beta2 -0.1", {.beta2 = -0.1});
  expect_refused("momentum 1.5", {.muon_momentum = 1.5});
  expect_refused("eps is 0", {.eps = 0});
  expect_refused("weight decay is -1", {.weight_decay = -1});
  expect_refused("weight decay is inf", {.weight_decay = kInfinity});
}

TEST(Optimizer, RefusesParametersItCannotTrain) {
  const auto refused = [](const std::string& part, std::vector<Parameter> parameters) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { Optimizer(parameters, {}); });
  };
  const at::Tensor good = leaf(at::zeros({2}));
  refused("'w' has no value", {{"w", {}}});
  refused("'w' is Double", {{"w", leaf(at::zeros({2}, at::kDouble))}});
  refused("'w' is no contiguous leaf", {{"w", at::zeros({2})}});
  refused("'w' is no contiguous leaf", {{"w", good * 2}});
  refused("'w' is no contiguous leaf", {{"w", at::zeros({2, 3}).t().set_requires_grad(true)}});
  refused("a hidden matrix has two axes", {{"w", good, true, true}});
  refused("'w' is there twice", {{"w", good}, {"w", leaf(at::zeros({3}))}});
}

TEST(Optimizer, IsNamedOnTheCommandLine) {
  for (const Kind kind : {Kind::AdamW, Kind::Muon}) {
    EXPECT_EQ(parse_optimizer(optimizer_name(kind)), kind);
  }
  EXPECT_EQ(parse_optimizer("muon"), Kind::Muon);
  expect_error(ErrorKind::InvalidArgument, "--optimizer 'sgd' is not known; known: adamw, muon",
               [] { parse_optimizer("sgd"); });
}

}  // namespace
}  // namespace prunus::test::optimizer_test
