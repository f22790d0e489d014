// The choice of osscar against the best of all subsets, in FP64.
#include <algorithm>
#include <limits>
#include <vector>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/collector.h"
#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
extern const Criterion obs, osscar;
}

namespace prunus::test::osscar_test {
namespace {

// A matrix and correlated inputs of it, in units of `width` columns.
struct Problem {
  Problem(uint64_t seed, int64_t units, int64_t width) : columns(at::arange(units * width)) {
    at::manual_seed(seed);
    columns = columns.view({units, width});
    const int64_t inputs = units * width;
    const at::Tensor mixed = at::matmul(at::randn({inputs, inputs}, at::kDouble),
                                        at::diag(at::rand({inputs}, at::kDouble)));
    const at::Tensor x = at::matmul(at::randn({60, inputs}, at::kDouble), mixed);
    weight = at::randn({4, inputs}, at::kDouble);
    const at::Tensor hessian = at::matmul(x.t(), x) * (2.0 / 60);
    const at::Tensor diagonal = hessian.diagonal();
    held = hessian + at::diag(diagonal * 0.1 + 1e-7 * diagonal.mean());
    known = LayerStatistics(stats::hessian, Role::DownProj,
                            {.sums = {at::matmul(x.t(), x)}, .tokens = 60});
  }

  at::Tensor scores(const Criterion& criterion, int64_t removed) const {
    WeightStats stats;
    stats.weight = weight;
    stats.role = Role::DownProj;
    stats.layer = &known;
    return criterion.unit({stats, columns, removed});
  }

  // Half of min tr((W − W')·A·(W − W')ᵀ), W' without the other units.
  double damage(const std::vector<int64_t>& kept) const {
    const at::Tensor at = columns.index_select(0, at::tensor(kept, at::kLong)).flatten();
    const at::Tensor inner = held.index_select(0, at).index_select(1, at);
    const at::Tensor cross = at::matmul(weight, held).index_select(1, at);
    const at::Tensor best = at::matmul(cross, at::linalg_inv(inner));
    const at::Tensor difference = weight.index_copy(1, at, weight.index_select(1, at) - best);
    return (at::matmul(difference, held) * difference).sum().item<double>() / 2;
  }

  at::Tensor columns;
  at::Tensor weight;
  at::Tensor held;
  LayerStatistics known;
};

std::vector<int64_t> best_by(const at::Tensor& scores, int64_t kept) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < scores.size(0); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[a].item<double>() > scores[b].item<double>();
  });
  order.resize(static_cast<size_t>(kept));
  std::sort(order.begin(), order.end());
  return order;
}

// Over all subsets of `kept` units.
double least_damage(const Problem& problem, int64_t kept) {
  const int64_t units = problem.columns.size(0);
  double least = std::numeric_limits<double>::infinity();
  for (int64_t mask = 0; mask < int64_t{1} << units; ++mask) {
    std::vector<int64_t> subset;
    for (int64_t i = 0; i < units; ++i) {
      if ((mask >> i & 1) != 0) subset.push_back(i);
    }
    if (static_cast<int64_t>(subset.size()) == kept) {
      least = std::min(least, problem.damage(subset));
    }
  }
  return least;
}

TEST(Osscar, ChoosesAsWellAsTheBestOfAllSubsets) {
  int same = 0;
  for (const int64_t width : {1, 3}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const Problem problem(seed, 8, width);
      const double best = least_damage(problem, 4);
      const auto chosen = best_by(problem.scores(criteria::osscar, 4), 4);
      const double got = problem.damage(chosen);
      EXPECT_LE(got, 1.03 * best) << width << " " << seed;
      EXPECT_GE(got, best * (1 - 1e-9));
      const auto one_shot = best_by(problem.scores(criteria::obs, 4), 4);
      EXPECT_LE(got, problem.damage(one_shot) * (1 + 1e-9)) << width << " " << seed;
      if (got < best * (1 + 1e-9)) ++same;
    }
  }
  EXPECT_GE(same, 36);
}

TEST(Osscar, LeavesNoExchangeOfOneUnitThatWouldHelp) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Problem problem(seed, 12, 1);
    const at::Tensor scores = problem.scores(criteria::osscar, 5);
    const std::vector<int64_t> kept = best_by(scores, 7);
    const double got = problem.damage(kept);
    for (int64_t unit = 0; unit < 12; ++unit) {
      const bool stays = std::binary_search(kept.begin(), kept.end(), unit);
      std::vector<int64_t> other = kept;
      if (stays) {
        std::erase(other, unit);
        EXPECT_NEAR(scores[unit].item<double>(), problem.damage(other) - got, 1e-8);
        continue;
      }
      other.push_back(unit);
      EXPECT_NEAR(scores[unit].item<double>(), problem.damage(other) - got, 1e-8);
      for (const int64_t gone : kept) {
        std::vector<int64_t> exchanged = other;
        std::erase(exchanged, gone);
        EXPECT_GE(problem.damage(exchanged), got * (1 - 1e-8)) << seed;
      }
    }
  }
}

TEST(Osscar, ScoresWhatNothingEntersAsNothing) {
  Problem problem(1, 8, 1);
  problem.known = LayerStatistics(stats::hessian, Role::DownProj,
                                  {.sums = {at::zeros({8, 8}, at::kDouble)}, .tokens = 60});
  EXPECT_TRUE(at::equal(problem.scores(criteria::osscar, 4), at::zeros({8}, at::kDouble)));
}

}  // namespace
}  // namespace prunus::test::osscar_test
