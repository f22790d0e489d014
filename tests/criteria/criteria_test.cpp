#include <algorithm>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/collector.h"
#include "prunus/criteria/criterion.h"

namespace prunus::test::criteria_test {
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

// W = [[1, −2], [3, 4]], g = [[5, 1], [−1, 2]]: W·g = [[5, −2], [−3, 8]]; A = [[2, 1], [0, 3]].
WeightStats stats() {
  WeightStats one;
  one.weight = at::tensor({1.0f, -2.0f, 3.0f, 4.0f}).view({2, 2});
  const at::Tensor gradient = at::tensor({5.0f, 1.0f, -1.0f, 2.0f}).view({2, 2});
  const at::Tensor squared = at::tensor({2.0f, 1.0f, 0.0f, 3.0f}).view({2, 2});
  one.sums[&stats::gradient].sums = {gradient};
  one.sums[&stats::squared_gradient].sums = {squared};
  one.sums[&stats::sample_gradients].sums = {gradient, squared};
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

// W·A·W = [[2, 4], [0, 48]].
TEST(TaylorParamSecond, WeighsTheSquareByTheSquaredGradient) {
  EXPECT_EQ(score("taylor_param_second", stats(), 0), (std::vector<float>{6, 48}));
  EXPECT_EQ(score("taylor_param_second", stats(), 1), (std::vector<float>{2, 52}));
}

// W·g − ½·W·A·W = [[4, −4], [−3, −16]].
TEST(TaylorParamMix, TakesHalfTheSecondOrderFromTheFirst) {
  EXPECT_EQ(score("taylor_param_mix", stats(), 0), (std::vector<float>{8, 19}));
  EXPECT_EQ(score("taylor_param_mix", stats(), 1), (std::vector<float>{7, 20}));
}

// One token x = [1, 1]: y = W·x = [−1, 7], and with ∂L/∂y = [2, −1]
// ∂L/∂x = Wᵀ·∂L/∂y = [−1, −8]: rows y·∂L/∂y = [−2, −7], columns x·∂L/∂x = [−1, −8].
TEST(TaylorVectorize, TakesTheAbsoluteValueOfTheSum) {
  WeightStats one = stats();
  const auto row = [](float a, float b) { return at::tensor({a, b}).view({1, 1, 2}); };
  const BackwardProduct product{.site = {.weight = one.weight, .bias = {}},
                                .input = row(1, 1),
                                .output = row(-1, 7),
                                .grad_output = row(2, -1),
                                .grad_input = row(-1, -8)};
  stats::saliency.add_product(one.sums[&stats::saliency], product, Biases::Counted);
  EXPECT_EQ(score("taylor_vectorize", one, 0), (std::vector<float>{2, 7}));
  EXPECT_EQ(score("taylor_vectorize", one, 1), (std::vector<float>{1, 8}));
}

// The last of three experts is chosen by no token.
TEST(ExpertOutput, AveragesOverTheTokensThatChoseAnExpert) {
  WeightStats one;
  StatisticsCollector collector(
      [](int, Role) -> std::vector<const Statistic*> { return {&stats::expert_output}; },
      [&](int, const LayerStatistics& gathered) {
        one.layer = &gathered;
        EXPECT_EQ(score("expert_output", one, 0), (std::vector<float>{2, 2.5, 0}));
      });
  const std::vector<std::vector<float>> experts = {{1, 2, 3}, {2, 3}, {}};
  for (int expert = 0; expert < 3; ++expert) {
    LinearSite site{.role = Role::DownProj, .weight = {}, .bias = {}};
    site.part.expert = expert;
    site.part.experts = 3;
    const at::Tensor output = at::tensor(experts[static_cast<size_t>(expert)]).view({-1, 1});
    collector.on_forward(site, at::zeros_like(output), output);
  }
  collector.on_block(0, {}, {}, true);
  EXPECT_NE(one.layer, nullptr);
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
  const WeightStats one = stats();
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
}  // namespace prunus::test::criteria_test
