#include <map>

#include "prunus/budget/budget.h"
#include "prunus/graph/ranking.h"

namespace prunus::budget {
namespace {

// Exactly n units, cheapest first. The last unit of a set (of each share) stays: the next cheapest
// elsewhere goes in its place.
void remove_cheapest(const BudgetRequest& request, const std::vector<size_t>& pool,
                     std::vector<int64_t>& counts) {
  int64_t left = units_to_cut(request.sets, request.ratios[pool[0]], pool);
  for (const RankedCut& cut : ranked_cuts(request.sets, request.normalisation, pool)) {
    if (left <= 0) return;
    if (counts[cut.set] + 1 >= request.sets[cut.set].set.units_per_share()) continue;
    ++counts[cut.set];
    left -= cut.units;
  }
}

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::map<double, std::vector<size_t>> pools;
  for (size_t i = 0; i < request.sets.size(); ++i) pools[request.ratios[i]].push_back(i);
  std::vector<int64_t> counts(request.sets.size(), 0);
  for (const auto& [ratio, pool] : pools) remove_cheapest(request, pool, counts);
  return counts;
}

}  // namespace

// One ranking over all sets: important layers give less.
extern const Budget global{.name = "global",
                           .source = "arXiv:2305.11627, global ranking",
                           .remove = remove,
                           .ranks_sets = true};

}  // namespace prunus::budget
