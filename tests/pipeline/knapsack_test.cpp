#include "prunus/pipeline/knapsack.h"

#include <limits>

#include <gtest/gtest.h>

#include "prunus/base/rng.h"

#include "support/expect_error.h"

namespace prunus::test::knapsack_test {
namespace {

using Units = std::vector<std::vector<KnapsackLevel>>;

// By trying everything.
double least_cost(const Units& units, int64_t capacity, size_t at = 0) {
  if (at == units.size()) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const KnapsackLevel& level : units[at]) {
    if (level.weight > capacity) continue;
    least = std::min(least, level.cost + least_cost(units, capacity - level.weight, at + 1));
  }
  return least;
}

TEST(Knapsack, EqualsTryingEverything) {
  PythonRandom random(7);
  for (int round = 0; round < 200; ++round) {
    Units units(1 + random.below(5));
    for (auto& levels : units) {
      levels.resize(1 + random.below(5));
      for (KnapsackLevel& level : levels) {
        level = {static_cast<int64_t>(random.below(20)),
                 static_cast<double>(random.below(1000)) / 7 - 20};
      }
    }
    const auto capacity = static_cast<int64_t>(20 + random.below(60));
    const double least = least_cost(units, capacity);
    if (least == std::numeric_limits<double>::infinity()) continue;
    const std::vector<size_t> levels = solve_knapsack(units, capacity);
    int64_t weight = 0;
    double cost = 0;
    for (size_t u = 0; u < units.size(); ++u) {
      weight += units[u][levels[u]].weight;
      cost += units[u][levels[u]].cost;
    }
    EXPECT_LE(weight, capacity);
    EXPECT_NEAR(cost, least, 1e-9);
  }
}

// Weights are rounded up to 5,000: the best of all counts of levels at those.
TEST(Knapsack, IsTheBestOfRoundedWeightsAndKeepsTheCapacity) {
  const Units units(40, {{100'003, 2}, {70'001, 3}, {30'007, 7}});
  const std::vector<size_t> levels = solve_knapsack(units, 2'500'000, 500);
  int64_t weight = 0;
  double cost = 0;
  for (size_t u = 0; u < units.size(); ++u) {
    weight += units[u][levels[u]].weight;
    cost += units[u][levels[u]].cost;
  }
  EXPECT_LE(weight, 2'500'000);
  double least = std::numeric_limits<double>::infinity();
  for (int64_t heavy = 0; heavy <= 40; ++heavy) {
    for (int64_t middle = 0; heavy + middle <= 40; ++middle) {
      const int64_t light = 40 - heavy - middle;
      if (heavy * 105'000 + middle * 75'000 + light * 35'000 > 2'500'000) continue;
      least = std::min(least, static_cast<double>(2 * heavy + 3 * middle + 7 * light));
    }
  }
  EXPECT_EQ(cost, least);
}

TEST(Knapsack, SaysWhereNothingFits) {
  expect_error(ErrorKind::InvalidArgument, "at most 5 were asked for", [] {
    solve_knapsack({{{4, 0}}, {{3, 1}, {9, 0}}}, 5);
  });
}

}  // namespace
}  // namespace prunus::test::knapsack_test
