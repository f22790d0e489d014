#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/budget/budget.h"

namespace prunus::test::global_test {
namespace {

using testing::ElementsAre;

ScoredSet set_of(std::vector<double> scores, int64_t shares = 1) {
  GroupSet set{AxisLabel::Ffn, 0, static_cast<int64_t>(scores.size()), {}, shares};
  return {set, std::move(scores)};
}

const Budget& budget_of(std::string_view name) {
  for (const Budget* one : budget::all()) {
    if (one->name == name) return *one;
  }
  throw std::logic_error("no such budget");
}

std::vector<int64_t> removed(const std::vector<ScoredSet>& sets, std::vector<double> ratios,
                             bool reference = false) {
  return budget_of(reference ? "llm_pruner_global" : "global")
      .remove({.sets = sets, .ratios = ratios});
}

std::vector<int64_t> removed(const std::vector<ScoredSet>& sets, double ratio,
                             bool reference = false) {
  return removed(sets, std::vector<double>(sets.size(), ratio), reference);
}

TEST(Global, TakesTheCheapestUnitsWhereverTheyAre) {
  // 8 − trunc(8·0.5) = 4 go: 1, 2, 3 and 4.
  EXPECT_THAT(removed({set_of({1, 9, 3, 8}), set_of({7, 2, 6, 4})}, 0.5), ElementsAre(2, 2));
  EXPECT_THAT(removed({set_of({1, 2, 3, 8}), set_of({7, 5, 6, 4})}, 0.5), ElementsAre(3, 1));
  EXPECT_THAT(removed({set_of({1, 9, 3, 8}), set_of({7, 2, 6, 4})}, 0.0), ElementsAre(0, 0));
}

TEST(Global, CountsOverTheWholePool) {
  // Each set alone would lose 3 − trunc(3·0.5) = 2, together 6 − trunc(6·0.5) = 3.
  EXPECT_THAT(removed({set_of({1, 5, 6}), set_of({2, 3, 4})}, 0.5), ElementsAre(1, 2));
}

TEST(Global, NeverTakesTheLastUnitOfASet) {
  // The 4 of the first set would be its last: 10 goes in its place.
  EXPECT_THAT(removed({set_of({1, 2, 3, 4}), set_of({10, 20, 30, 40})}, 0.5), ElementsAre(3, 1));
  EXPECT_THAT(removed({set_of({1}), set_of({2, 3, 4})}, 0.5), ElementsAre(0, 2));
  // 9 − trunc(9·0.0…1) = 9 are wanted, and one of each set stays.
  EXPECT_THAT(removed({set_of({1, 2, 3, 4}), set_of({5, 6, 7, 8, 9})}, 0.999), ElementsAre(3, 4));
}

TEST(Global, TakesExactlyAsManyAndOfEqualsTheEarlierSets) {
  EXPECT_THAT(removed({set_of({5, 5, 5}), set_of({5, 5, 5})}, 0.5), ElementsAre(2, 1));
  EXPECT_THAT(removed({set_of({1, 1, 1, 9}), set_of({1, 5, 6, 7})}, 0.25), ElementsAre(2, 0));
}

TEST(Global, TakesOneOfEveryShareAtATime) {
  // Levels of the first: 1 + 2, 3 + 4. n = 8 − trunc(8·0.625) = 3: one of each share (2) for 3,
  // then the unit that costs 4.
  const std::vector<ScoredSet> sets = {set_of({1, 3, 2, 4}, 2), set_of({5, 8, 4, 9})};
  EXPECT_THAT(removed(sets, 0.375), ElementsAre(1, 1));
  // The first has given what it may: 5 units wanted, 2 + 3.
  EXPECT_THAT(removed(sets, 0.625), ElementsAre(1, 3));
}

TEST(Global, RanksSetsOfEqualRatioWithEachOther) {
  // Two pools of two sets. Of the first n = 4 − trunc(4·0.75) = 1, of the second 2.
  EXPECT_THAT(removed({set_of({5, 6}), set_of({1, 2}), set_of({3, 4}), set_of({7, 8})},
                      {0.25, 0.5, 0.25, 0.5}),
              ElementsAre(0, 1, 1, 1));
  // All in one pool: n = 8 − trunc(8·0.75) = 2, and 2 is its set's last, so 3 goes.
  EXPECT_THAT(removed({set_of({5, 6}), set_of({1, 2}), set_of({3, 4}), set_of({7, 8})}, 0.25),
              ElementsAre(0, 1, 1, 0));
}

TEST(Global, RanksByTheNormalisedScore) {
  const std::vector<ScoredSet> sets = {set_of({1, 2, 9}), set_of({100, 1000, 1900})};
  const std::vector<double> ratios = {0.34, 0.34};  // n = 6 − trunc(6·0.66) = 3
  EXPECT_THAT(removed(sets, ratios), ElementsAre(2, 1));
  // Divided by the means 4 and 1000: 0.25, 0.5, 2.25 and 0.1, 1, 1.9.
  const auto by_mean = budget_of("global").remove(
      {.sets = sets, .ratios = ratios, .normalisation = Normalisation::Mean});
  EXPECT_THAT(by_mean, ElementsAre(2, 1));
  const std::vector<double> less = {0.17, 0.17};  // n = 6 − trunc(6·0.83) = 2
  EXPECT_THAT(removed(sets, less), ElementsAre(2, 0));
  EXPECT_THAT(budget_of("global").remove(
                  {.sets = sets, .ratios = less, .normalisation = Normalisation::Mean}),
              ElementsAre(1, 1));
}

TEST(Global, CountsFromTheStartOfAnIterativeRun) {
  std::vector<ScoredSet> sets = {set_of({1, 2, 3}), set_of({4, 5, 6})};
  sets[0].initial_units = 6;
  sets[1].initial_units = 4;
  // 10 at the start, 6 now: 6 − trunc(10·0.5) = 1 more; at 0.25, 7 may stay: none.
  EXPECT_THAT(removed(sets, 0.5), ElementsAre(1, 0));
  EXPECT_THAT(removed(sets, 0.25), ElementsAre(0, 0));
  EXPECT_THAT(removed(sets, 0.25, true), ElementsAre(0, 0));
}

TEST(GlobalReference, TakesEverythingNotAboveTheThreshold) {
  // n = 2; the second lowest is 1, and four units are not above it.
  EXPECT_THAT(removed({set_of({1, 1, 1, 9}), set_of({1, 5, 6, 7})}, 0.25, true), ElementsAre(3, 1));
  EXPECT_THAT(removed({set_of({1, 2, 8, 9}), set_of({4, 5, 6, 7})}, 0.25, true), ElementsAre(2, 0));
}

TEST(GlobalReference, IsNotForSetsWithShares) {
  // 8 units, but 2 levels a share: n = 8 − trunc(8·0.5) = 4 would lie behind the last of them.
  EXPECT_THROW(removed({set_of({1, 2, 3, 4, 5, 6, 7, 8}, 4)}, 0.5, true), c10::Error);
}

TEST(GlobalReference, LeavesASetWholeThatWouldLoseAll) {
  EXPECT_THAT(removed({set_of({1, 2, 3, 4}), set_of({10, 20, 30, 40})}, 0.5, true),
              ElementsAre(0, 0));
  EXPECT_THAT(removed({set_of({1, 2, 5}), set_of({3, 4, 6, 7, 8, 9})}, 0.5, true),
              ElementsAre(0, 2));
}

}  // namespace
}  // namespace prunus::test::global_test
