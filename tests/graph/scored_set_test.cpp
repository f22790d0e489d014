#include "prunus/graph/scored_set.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::scored_set_test {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

ScoredSet set_of(std::vector<double> scores, int64_t shares = 1) {
  GroupSet set{AxisLabel::Ffn, 0, static_cast<int64_t>(scores.size()), {}, shares};
  return {set, std::move(scores)};
}

ScoredSet logarithms(const std::vector<double>& products, int64_t shares = 1) {
  ScoredSet scored = set_of(products, shares);
  for (double& score : scored.scores) score = std::log(score);
  scored.logarithmic = true;
  return scored;
}

std::vector<double> exponentials(std::vector<double> levels) {
  for (double& level : levels) level = std::exp(level);
  return levels;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  EXPECT_THAT(got, Pointwise(DoubleNear(1e-12), expected));
}

TEST(Levels, AreTheScoresInAscendingOrder) {
  EXPECT_THAT(set_of({5, 1, 3}).levels(), ElementsAre(1, 3, 5));
}

// {5, 1, 3} and {2, 6, 4}: the r-th lowest of each share go together.
TEST(Levels, AddTheLowestOfEveryShare) {
  EXPECT_THAT(set_of({5, 1, 3, 2, 6, 4}, 2).levels(), ElementsAre(1 + 2, 3 + 4, 5 + 6));
}

TEST(Levels, AreDividedAsTheNormalisationSays) {
  ScoredSet scored = set_of({5, 1, 3, 2, 6, 4}, 2);
  // A matrix of 6 × 4 cut by row: 4 parameters go with a unit.
  scored.set.members.push_back({.tensor = {.name = "w", .shape = {6, 4}}});
  expect_near(scored.levels(Normalisation::None), {3, 7, 11});
  expect_near(scored.levels(Normalisation::Mean), {3 / 3.5, 7 / 3.5, 11 / 3.5});
  expect_near(scored.levels(Normalisation::Max), {3 / 6., 7 / 6., 11 / 6.});
  expect_near(scored.levels(Normalisation::Params), {3 / 4., 7 / 4., 11 / 4.});
}

TEST(Levels, StayZeroWhereNothingIsOfAnyImportance) {
  for (const Normalisation one : {Normalisation::None, Normalisation::Mean, Normalisation::Max}) {
    EXPECT_THAT(set_of({0, 0}).levels(one), ElementsAre(0, 0));
  }
}

TEST(Levels, OfLogarithmsStandForTheSame) {
  ScoredSet scored = logarithms({5, 1, 3, 2, 6, 4}, 2);
  scored.set.members.push_back({.tensor = {.name = "w", .shape = {6, 4}}});
  expect_near(exponentials(scored.levels(Normalisation::None)), {3, 7, 11});
  expect_near(exponentials(scored.levels(Normalisation::Mean)), {3 / 3.5, 7 / 3.5, 11 / 3.5});
  expect_near(exponentials(scored.levels(Normalisation::Max)), {3 / 6., 7 / 6., 11 / 6.});
  expect_near(exponentials(scored.levels(Normalisation::Params)), {3 / 4., 7 / 4., 11 / 4.});
}

// e^−2000 and e^−1999 are both zero in FP64; their sum is e^−2000·(1 + e).
TEST(Levels, OfLogarithmsMayBeOutOfRangeThemselves) {
  ScoredSet scored = set_of({-2000, -1999}, 2);
  scored.logarithmic = true;
  expect_near(scored.levels(), {-2000 + std::log(1 + std::exp(1.0))});
  scored.set.shares = 1;
  const double mean = -2000 + std::log((1 + std::exp(1.0)) / 2);
  expect_near(scored.levels(Normalisation::Mean), {-2000 - mean, -1999 - mean});
  scored.scores = {2000, 1999};
  expect_near(scored.levels(Normalisation::Max), {-1, 0});
}

TEST(KeepBest, RemovesTheLowestAndOfEqualsTheFirst) {
  EXPECT_THAT(set_of({3, 1, 2, 4}).keep_best(2), ElementsAre(0, 3));
  EXPECT_THAT(set_of({1, 1, 2, 1}).keep_best(2), ElementsAre(2, 3));
  EXPECT_THAT(set_of({3, 1, 2}).keep_best(0), ElementsAre(0, 1, 2));
  EXPECT_THAT(set_of({3, 1, 2}).keep_best(3), ElementsAre());
}

TEST(KeepBest, RemovesAsManyFromEveryShare) {
  // Units 0 and 4 are the lowest of their shares, though 0 is worth more than all of the second.
  EXPECT_THAT(set_of({7, 8, 9, 2, 1, 3}, 2).keep_best(1), ElementsAre(1, 2, 3, 5));
  EXPECT_THAT(set_of({5, 5, 5, 5}, 2).keep_best(1), ElementsAre(1, 3));
}

TEST(ScoredSet, RefusesScoresThatAreNoNumbers) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    const ScoredSet scored = set_of({1, 2, bad, 4});
    expect_error(ErrorKind::Numeric, "layers.0.ffn: a score is", [&] { scored.keep_best(1); });
    expect_error(ErrorKind::Numeric, "layers.0.ffn: a score is", [&] { scored.levels(); });
  }
}

TEST(ScoredSet, CountsItsUnitsAtTheStart) {
  ScoredSet scored = set_of({1, 2, 3});
  EXPECT_EQ(scored.units_at_start(), 3);
  scored.initial_units = 8;
  EXPECT_EQ(scored.units_at_start(), 8);
}

TEST(ParseNormalisation, KnowsItsNames) {
  EXPECT_EQ(parse_normalisation("none"), Normalisation::None);
  EXPECT_EQ(parse_normalisation("mean"), Normalisation::Mean);
  EXPECT_EQ(parse_normalisation("max"), Normalisation::Max);
  EXPECT_EQ(parse_normalisation("params"), Normalisation::Params);
  expect_error(ErrorKind::InvalidArgument, "known: none, mean, max, params",
               [] { parse_normalisation("Mean"); });
}

}  // namespace
}  // namespace prunus::test::scored_set_test
