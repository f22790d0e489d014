#include <algorithm>

#include "prunus/base/error.h"
#include "prunus/budget/budget.h"

namespace prunus::budget {
namespace {

// LLM-Pruner counts in slices of the group's root and removes whole units: with C slices now and C0
// at the start, n = C − trunc(C0·(1 − ratio)) in double arithmetic, and floor(n / slices per unit)
// units go. The root is gate_proj for the feed-forward part and, for heads, the projection with one
// head per unit (q_proj in MHA, k_proj in GQA): the member with the fewest slices per unit.
int64_t units_to_remove(const ScoredSet& scored, double ratio, int64_t round_to) {
  const int64_t width = scored.set.width();
  const int64_t slices = scored.set.units_per_share() * width;
  const int64_t initial = scored.units_at_start() / scored.set.shares * width;
  const auto kept = static_cast<int64_t>(static_cast<double>(initial) * (1.0 - ratio));
  int64_t gone = std::max<int64_t>(0, slices - kept);
  gone -= gone % round_to;
  return gone / width;
}

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::vector<int64_t> counts;
  for (size_t i = 0; i < request.sets.size(); ++i) {
    const int64_t round_to = request.reference ? request.round_to : 1;
    counts.push_back(units_to_remove(request.sets[i], request.ratios[i], round_to));
  }
  return counts;
}

}  // namespace

// The same ratio for every set (local ranking).
extern const Budget uniform{"uniform", "arXiv:2305.11627, local ranking", remove};

}  // namespace prunus::budget
