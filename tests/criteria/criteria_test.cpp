#include <algorithm>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/criteria/criterion.h"

namespace prunus::test {
namespace {

const Criterion& criterion(std::string_view name) {
  const auto all = criteria::all();
  return **std::find_if(all.begin(), all.end(),
                        [&](const Criterion* one) { return one->name == name; });
}

std::vector<float> score(std::string_view name, const WeightStats& stats, int dim) {
  PythonRandom random(0);
  const Criterion& one = criterion(name);
  const at::Tensor slices =
      one.slice != nullptr ? one.slice({stats, dim, 2, random}) : one.element(stats).sum(1 - dim);
  const at::Tensor scores = slices.to(at::kFloat);
  return {scores.const_data_ptr<float>(), scores.const_data_ptr<float>() + scores.numel()};
}

// W = [[1, −2], [3, 4]], g = [[5, 1], [−1, 2]]: W·g = [[5, −2], [−3, 8]].
WeightStats stats() {
  WeightStats one;
  one.weight = at::tensor({1.0f, -2.0f, 3.0f, 4.0f}).view({2, 2});
  one.gradient = at::tensor({5.0f, 1.0f, -1.0f, 2.0f}).view({2, 2});
  const at::Tensor product = one.weight * one.gradient;
  one.row_saliency = product.sum(1).to(at::kDouble);
  one.column_saliency = product.sum(0).to(at::kDouble);
  return one;
}

TEST(L1, SumsAbsoluteWeights) {
  EXPECT_EQ(score("l1", stats(), 0), (std::vector<float>{3, 7}));
  EXPECT_EQ(score("l1", stats(), 1), (std::vector<float>{4, 6}));
}

TEST(L2, SumsSquaresWithoutARoot) {
  EXPECT_EQ(score("l2", stats(), 0), (std::vector<float>{5, 25}));
  EXPECT_EQ(score("l2", stats(), 1), (std::vector<float>{10, 20}));
}

TEST(TaylorParamFirst, TakesTheAbsoluteValueOfEachProduct) {
  EXPECT_EQ(score("taylor_param_first", stats(), 0), (std::vector<float>{7, 11}));
  EXPECT_EQ(score("taylor_param_first", stats(), 1), (std::vector<float>{8, 10}));
}

// A = [[2, 1], [0, 3]]: W·A·W = [[2, 4], [0, 48]].
TEST(TaylorParamSecond, WeighsTheSquareByTheSquaredGradient) {
  WeightStats one = stats();
  one.squared_gradient = at::tensor({2.0f, 1.0f, 0.0f, 3.0f}).view({2, 2});
  EXPECT_EQ(score("taylor_param_second", one, 0), (std::vector<float>{6, 48}));
  EXPECT_EQ(score("taylor_param_second", one, 1), (std::vector<float>{2, 52}));
}

// W·g − ½·W·A·W = [[4, −4], [−3, −16]].
TEST(TaylorParamMix, TakesHalfTheSecondOrderFromTheFirst) {
  WeightStats one = stats();
  one.squared_gradient = at::tensor({2.0f, 1.0f, 0.0f, 3.0f}).view({2, 2});
  EXPECT_EQ(score("taylor_param_mix", one, 0), (std::vector<float>{8, 19}));
  EXPECT_EQ(score("taylor_param_mix", one, 1), (std::vector<float>{7, 20}));
}

TEST(TaylorVectorize, TakesTheAbsoluteValueOfTheSum) {
  EXPECT_EQ(score("taylor_vectorize", stats(), 0), (std::vector<float>{3, 5}));
  EXPECT_EQ(score("taylor_vectorize", stats(), 1), (std::vector<float>{2, 6}));
}

// The last expert was chosen by no token.
TEST(ExpertOutput, AveragesOverTheTokensThatChoseAnExpert) {
  WeightStats one;
  one.output_norm = at::tensor({6.0, 5.0, 0.0}, at::kDouble);
  one.routed_tokens = at::tensor({3.0, 2.0, 0.0}, at::kDouble);
  EXPECT_EQ(score("expert_output", one, 0), (std::vector<float>{2, 2.5, 0}));
}

TEST(Random, DrawsPythonsNumbersInOrder) {
  PythonRandom random(42);
  const WeightStats none;
  const at::Tensor scores = criterion("random").slice({none, 0, 2, random});
  EXPECT_DOUBLE_EQ(scores[0].item<double>(), 0.6394267984578837);    // random.seed(42);
  EXPECT_DOUBLE_EQ(scores[1].item<double>(), 0.025010755222666936);  // random.random() twice
}

// Where a criterion has both functions, they say the same.
TEST(Criteria, AddUpTheirElementsToSlices) {
  WeightStats one = stats();
  one.squared_gradient = at::tensor({2.0f, 1.0f, 0.0f, 3.0f}).view({2, 2});
  int both = 0;
  for (const Criterion* criterion : criteria::all()) {
    if (criterion->element == nullptr || criterion->slice == nullptr) continue;
    if (criterion->needs.in(Pass::Forward)) continue;
    ++both;
    for (const int dim : {0, 1}) {
      PythonRandom random(0);
      const at::Tensor slices = criterion->slice({one, dim, 2, random});
      EXPECT_TRUE(at::allclose(criterion->element(one).sum(1 - dim), slices)) << criterion->name;
    }
  }
  EXPECT_GE(both, 3);
}

TEST(Criteria, HaveDistinctNamesAndASource) {
  std::vector<std::string_view> names;
  for (const Criterion* one : criteria::all()) {
    names.push_back(one->name);
    EXPECT_FALSE(one->source.empty());
  }
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_GE(names.size(), 5u);
}

}  // namespace
}  // namespace prunus::test
