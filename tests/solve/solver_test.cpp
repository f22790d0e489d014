// Solvers against what can be computed in another way: the normal equations of plain data, in FP64.
#include "prunus/solve/solver.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::solver_test {
namespace {

constexpr int64_t kTokens = 200;

struct Data {
  at::Tensor x;  // [tokens, in], with a last channel of ones where there is a bias
  at::Tensor t;  // [tokens, out]
  at::Tensor weights;
  SolveRequest request;
};

Data drawn(bool biased) {
  at::manual_seed(5);
  const auto wide = at::TensorOptions().dtype(at::kDouble);
  Data data{at::randn({kTokens, 7}, wide),
            at::randn({kTokens, 3}, wide),
            at::rand({kTokens, 1}, wide) + 0.1,
            {}};
  data.x.select(1, 2).mul_(100);  // one massive channel
  if (biased) data.x = at::cat({data.x, at::ones({kTokens, 1}, wide)}, 1);
  const at::Tensor weighted = data.x * data.weights;
  data.request = {.weight = at::randn({3, 7}, wide),
                  .bias = biased ? at::randn({3}, wide) : at::Tensor(),
                  .gram = at::matmul(data.x.t(), weighted),
                  .cross = at::matmul(data.t.t(), weighted),
                  .square = (data.t.square() * data.weights).sum().item<double>()};
  return data;
}

at::Tensor joined(const at::Tensor& weight, const at::Tensor& bias) {
  return bias.defined() ? at::cat({weight, bias.unsqueeze(1)}, 1) : weight;
}

double error_of(const Data& data, const at::Tensor& weight) {
  const at::Tensor missing = data.t - at::matmul(data.x, weight.t());
  return (missing.square() * data.weights).sum().item<double>();
}

// Rows of data that stand for the ridge: √(λ·G_jj) in column j with a target of that times W0_j.
TEST(LeastSquares, EqualsARegressionWithTheRidgeAsFurtherTokens) {
  for (const bool biased : {false, true}) {
    Data data = drawn(biased);
    data.request.options.ridge = 0.3;
    const Solved solved = find_solver("least-squares").solve(data.request);
    const at::Tensor squares = data.request.gram.diagonal();
    at::Tensor ridge = squares * 0.3;
    if (biased) ridge[-1] = 0;
    ridge = ridge + 1e-7 * squares.mean();
    const at::Tensor rows = at::diag(ridge.sqrt());
    const at::Tensor prior = joined(data.request.weight, data.request.bias);
    const at::Tensor x = at::cat({data.x * data.weights.sqrt(), rows});
    const at::Tensor t = at::cat({data.t * data.weights.sqrt(), at::matmul(rows, prior.t())});
    const at::Tensor wanted = std::get<0>(at::linalg_lstsq(x, t)).t();
    EXPECT_LT((joined(solved.weight, solved.bias) - wanted).abs().max().item<double>(), 1e-5);
    EXPECT_EQ(solved.bias.defined(), biased);
  }
}

TEST(LeastSquares, ErrorIsThatOfTheTokens) {
  for (const bool biased : {false, true}) {
    const Data data = drawn(biased);
    const Solved before{data.request.weight, data.request.bias};
    const double wanted = error_of(data, joined(before.weight, before.bias));
    EXPECT_NEAR(squared_error(data.request, before), wanted, 1e-9 * wanted);
    const Solved after = find_solver("least-squares").solve(data.request);
    EXPECT_LT(squared_error(data.request, after), squared_error(data.request, before));
  }
}

TEST(LeastSquares, LeavesWhatNothingEnters) {
  Data data = drawn(false);
  data.request.gram.zero_();
  data.request.cross.zero_();
  const Solved solved = find_solver("least-squares").solve(data.request);
  EXPECT_TRUE(at::equal(solved.weight, data.request.weight));
}

// Two inputs that are always equal, and no ridge: the floor decides.
TEST(LeastSquares, SolvesWhereInputsDependOnEachOther) {
  Data data = drawn(false);
  data.x.select(1, 1).copy_(data.x.select(1, 0));
  data.request.gram = at::matmul(data.x.t(), data.x);
  data.request.cross = at::matmul(data.t.t(), data.x);
  data.request.options.ridge = 0;
  const Solved solved = find_solver("least-squares").solve(data.request);
  EXPECT_TRUE(at::isfinite(solved.weight).all().item<bool>());
}

TEST(LeastSquares, RefusesSumsThatAreNotFinite) {
  Data data = drawn(false);
  data.request.gram[1][1] = std::numeric_limits<double>::infinity();
  expect_error(ErrorKind::Numeric, "not finite",
               [&] { find_solver("least-squares").solve(data.request); });
}

TEST(Bias, IsTheWeightedMeanOfWhatIsMissing) {
  const Data data = drawn(true);
  const Solved solved = find_solver("bias").solve(data.request);
  EXPECT_TRUE(at::equal(solved.weight, data.request.weight));
  const at::Tensor missing = data.t - at::matmul(data.x.narrow(1, 0, 7), data.request.weight.t());
  const at::Tensor mean = (missing * data.weights).sum(0) / data.weights.sum();
  EXPECT_LT((solved.bias - mean).abs().max().item<double>(), 1e-10);
}

TEST(FindSolver, NamesThoseThereAre) {
  expect_error(ErrorKind::InvalidArgument, "expected none, bias, least-squares",
               [] { find_solver("magic"); });
}

}  // namespace
}  // namespace prunus::test::solver_test
