// Runs of layers, by a score whose values are written down.
#include "prunus/pipeline/layer_runs.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::layer_runs_test {
namespace {

// The distance of two numbers.
constexpr Criterion kDistance{.name = "distance",
                              .source = "",
                              .needs = {.last_tokens = true},
                              .run = [](const at::Tensor& before, const at::Tensor& after) {
                                return std::abs((after - before).item<double>());
                              }};

std::vector<at::Tensor> states(const std::vector<double>& values) {
  std::vector<at::Tensor> list;
  for (const double value : values) list.push_back(at::full({1, 1}, value, at::kDouble));
  return list;
}

// Steps 5, 1, −1, 4, 2: of two layers 6, 0, 3, 6; of three 5, 4, 5.
const std::vector<double> kValues = {0, 5, 6, 5, 9, 11};

TEST(RunScores, AreOfTheBestRunThatALayerIsIn) {
  EXPECT_EQ(run_scores(states(kValues), 1, kDistance),
            (std::vector<double>{5, 1, std::nextafter(1, 2), 4, 2}));
  EXPECT_EQ(run_scores(states(kValues), 2, kDistance), (std::vector<double>{6, 0, 0, 3, 6}));
  EXPECT_EQ(run_scores(states(kValues), 3, kDistance), (std::vector<double>{5, 4, 4, 4, 5}));
  EXPECT_EQ(run_scores(states(kValues), 5, kDistance), (std::vector<double>(5, 11)));
}

// Of two runs alike the layers of the first are the lowest.
TEST(RunScores, NeverMixTwoRuns) {
  const ScoredSet scored{.set = {.label = AxisLabel::Layer, .units = 5},
                         .scores = run_scores(states({0, 7, 7, 9, 9, 9}), 2, kDistance)};
  EXPECT_EQ(scored.keep_best(2), (std::vector<int64_t>{0, 1, 2}));
  const ScoredSet equal{.set = {.label = AxisLabel::Layer, .units = 5},
                        .scores = run_scores(states({0, 3, 0, 3, 0, 3}), 2, kDistance)};
  EXPECT_EQ(equal.keep_best(2), (std::vector<int64_t>{2, 3, 4}));
}

TEST(RunScores, RefuseWhatIsNotFinite) {
  expect_error(ErrorKind::Numeric, "distance: layers 1 to 2 score nan", [] {
    run_scores(states({0, std::nan(""), 1, 2}), 2, kDistance);
  });
}

}  // namespace
}  // namespace prunus::test::layer_runs_test
