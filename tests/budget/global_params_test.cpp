#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/budget/budget.h"

namespace prunus::test::global_params_test {
namespace {

using testing::ElementsAre;

// A set whose units weigh `weights` each.
ScoredSet set_of(std::vector<double> scores, int64_t weights) {
  const auto units = static_cast<int64_t>(scores.size());
  GroupSet set{.label = AxisLabel::Ffn, .layer = 0, .units = units};
  TensorInfo tensor;
  tensor.shape = {units, weights};
  set.members.push_back({tensor, 0, 1, 1});
  return {set, std::move(scores)};
}

std::vector<int64_t> removed(const std::vector<ScoredSet>& sets, std::vector<double> ratios) {
  for (const Budget* one : budget::all()) {
    if (one->name == "global_params") return one->remove({.sets = sets, .ratios = ratios});
  }
  throw std::logic_error("no such budget");
}

TEST(GlobalParams, CountsUnitsByTheirWeights) {
  // 4 units of 10 and 4 of 1: 44 weights, of which 22 go: two of 10 and two of 1 in order of score.
  EXPECT_THAT(removed({set_of({1, 4, 8, 9}, 10), set_of({2, 3, 7, 9}, 1)}, {0.5, 0.5}),
              ElementsAre(2, 2));
  // 11 weights: one of 10, then the 2 is nearest.
  EXPECT_THAT(removed({set_of({1, 4, 8, 9}, 10), set_of({2, 3, 7, 9}, 1)}, {0.25, 0.25}),
              ElementsAre(1, 1));
}

TEST(GlobalParams, StopsWhereWhatIsGoneIsNearestToTheRatio) {
  EXPECT_THAT(removed({set_of({1, 2, 3, 4}, 10)}, {0.12}), ElementsAre(0));  // 4.8 of 40
  EXPECT_THAT(removed({set_of({1, 2, 3, 4}, 10)}, {0.13}), ElementsAre(1));  // 5.2 of 40
}

TEST(GlobalParams, KeepsOneUnitOfEachSetAndASetOfRatioZero) {
  EXPECT_THAT(removed({set_of({1, 2}, 10), set_of({5, 6, 7}, 10)}, {0.6, 0.6}), ElementsAre(1, 2));
  EXPECT_THAT(removed({set_of({1, 2}, 10), set_of({5, 6, 7}, 10)}, {0.0, 0.6}), ElementsAre(0, 2));
}

TEST(GlobalParams, CountsFromTheStartOfAnIterativeRun) {
  ScoredSet halfway = set_of({1, 2, 3}, 10);
  halfway.initial_units = 4;  // 10 of 40 are gone
  EXPECT_THAT(removed({halfway}, {0.5}), ElementsAre(1));
}

}  // namespace
}  // namespace prunus::test::global_params_test
