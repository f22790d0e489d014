#include <map>

#include <c10/util/Exception.h>

#include "prunus/budget/budget.h"
#include "prunus/graph/ranking.h"

namespace prunus::budget {
namespace {

// Everything not above the n-th lowest score goes, ties included; a set that would lose everything
// loses nothing.
void remove_below(const BudgetRequest& request, const std::vector<size_t>& pool,
                  std::vector<int64_t>& counts) {
  const std::vector<RankedCut> cuts = ranked_cuts(request.sets, request.normalisation, pool);
  const int64_t count = units_to_cut(request.sets, request.ratios[pool[0]], pool);
  if (count <= 0) return;
  TORCH_INTERNAL_ASSERT(static_cast<size_t>(count) <= cuts.size());  // sets without shares
  const double threshold = cuts[static_cast<size_t>(count - 1)].cost;
  for (const RankedCut& cut : cuts) {
    if (cut.cost <= threshold) ++counts[cut.set];
  }
  for (const size_t i : pool) {
    if (counts[i] >= request.sets[i].set.units_per_share()) counts[i] = 0;
  }
}

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::map<double, std::vector<size_t>> pools;
  for (size_t i = 0; i < request.sets.size(); ++i) pools[request.ratios[i]].push_back(i);
  std::vector<int64_t> counts(request.sets.size(), 0);
  for (const auto& [ratio, pool] : pools) remove_below(request, pool, counts);
  return counts;
}

}  // namespace

// The ranking over all sets as the program of the paper makes it.
extern const Budget llm_pruner_global{.name = "llm_pruner_global",
                                      .source = "LLM-Pruner, commit 128a07d, global_pruning",
                                      .remove = remove,
                                      .ranks_sets = true,
                                      .follows_program = true};

}  // namespace prunus::budget
