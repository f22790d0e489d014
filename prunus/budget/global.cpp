#include <algorithm>
#include <map>

#include <c10/util/Exception.h>

#include "prunus/budget/budget.h"

namespace prunus::budget {
namespace {

// One further cut of one set.
struct Step {
  double cost = 0;
  size_t set = 0;
  int64_t units = 1;  // one of every share
};

// All cuts of the sets of one pool, cheapest first; equal costs: the earlier set.
std::vector<Step> ranked(const BudgetRequest& request, const std::vector<size_t>& pool) {
  std::vector<Step> steps;
  for (const size_t i : pool) {
    for (const double cost : request.sets[i].levels(request.normalisation)) {
      steps.push_back({cost, i, request.sets[i].set.shares});
    }
  }
  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.cost < b.cost; });
  return steps;
}

// Units that have to go: n = now − trunc(start·(1 − ratio)), counted over the pool.
int64_t wanted(const BudgetRequest& request, const std::vector<size_t>& pool) {
  int64_t now = 0;
  int64_t start = 0;
  for (const size_t i : pool) {
    now += request.sets[i].set.units;
    start += request.sets[i].units_at_start();
  }
  const double ratio = request.ratios[pool[0]];
  return std::max<int64_t>(0,
                           now - static_cast<int64_t>(static_cast<double>(start) * (1.0 - ratio)));
}

// The reference: everything not above the n-th lowest score goes, ties included; a set that would
// lose everything loses nothing.
void remove_as_reference(const BudgetRequest& request, const std::vector<size_t>& pool,
                         std::vector<int64_t>& counts) {
  const std::vector<Step> steps = ranked(request, pool);
  const int64_t count = wanted(request, pool);
  if (count <= 0) return;
  TORCH_INTERNAL_ASSERT(static_cast<size_t>(count) <= steps.size());  // sets without shares
  const double threshold = steps[static_cast<size_t>(count - 1)].cost;
  for (const Step& step : steps) {
    if (step.cost <= threshold) ++counts[step.set];
  }
  for (const size_t i : pool) {
    if (counts[i] >= request.sets[i].set.units_per_share()) counts[i] = 0;
  }
}

// Exactly n units, cheapest first. The last unit of a set (of each share) stays: the next cheapest
// elsewhere goes in its place.
void remove_cheapest(const BudgetRequest& request, const std::vector<size_t>& pool,
                     std::vector<int64_t>& counts) {
  int64_t left = wanted(request, pool);
  for (const Step& step : ranked(request, pool)) {
    if (left <= 0) return;
    if (counts[step.set] + 1 >= request.sets[step.set].set.units_per_share()) continue;
    ++counts[step.set];
    left -= step.units;
  }
}

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::map<double, std::vector<size_t>> pools;
  for (size_t i = 0; i < request.sets.size(); ++i) pools[request.ratios[i]].push_back(i);
  std::vector<int64_t> counts(request.sets.size(), 0);
  for (const auto& [ratio, pool] : pools) {
    if (request.reference) {
      remove_as_reference(request, pool, counts);
    } else {
      remove_cheapest(request, pool, counts);
    }
  }
  return counts;
}

}  // namespace

// One ranking over all sets: important layers give less.
extern const Budget global{"global", "arXiv:2305.11627, global ranking", remove};

}  // namespace prunus::budget
