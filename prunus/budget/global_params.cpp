#include <cmath>

#include "prunus/budget/budget.h"
#include "prunus/graph/ranking.h"

namespace prunus::budget {
namespace {

// Weights that go with one cut of a set: one unit of each share.
double weight_of(const GroupSet& set) {
  return static_cast<double>(set.parameters_per_unit() * set.shares);
}

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::vector<size_t> pool;
  double wanted = 0;  // weights that have to go
  for (size_t i = 0; i < request.sets.size(); ++i) {
    const ScoredSet& scored = request.sets[i];
    pool.push_back(i);
    const double unit = weight_of(scored.set) / static_cast<double>(scored.set.shares);
    const auto start = static_cast<double>(scored.units_at_start());
    const auto now = static_cast<double>(scored.set.units);
    wanted += unit * (now - start * (1 - request.ratios[i]));
  }
  std::vector<int64_t> counts(request.sets.size(), 0);
  for (const RankedCut& cut : ranked_cuts(request.sets, request.normalisation, pool)) {
    const GroupSet& set = request.sets[cut.set].set;
    // The cut after which the weights gone are nearest to what is wanted is the last.
    if (wanted < weight_of(set) / 2) break;
    if (counts[cut.set] + 1 >= set.units_per_share() || request.ratios[cut.set] == 0) continue;
    ++counts[cut.set];
    wanted -= weight_of(set);
  }
  return counts;
}

}  // namespace

// One ranking over all sets in which a unit counts for the weights that go with it, so that the
// ratio is that of the weights of all sets together. Differs: every set keeps a unit.
extern const Budget global_params{.name = "global_params",
                                  .source = "An et al., FLAP, arXiv:2312.11983, section 3.2",
                                  .remove = remove,
                                  .ranks_sets = true};

}  // namespace prunus::budget
