#include <algorithm>

#include "prunus/base/error.h"
#include "prunus/budget/budget.h"

namespace prunus::budget {
namespace {

// LLM-Pruner counts in slices of the group's root and removes whole units: with C slices,
// n = C − trunc(C·(1 − ratio)) in double arithmetic, and floor(n / slices per unit) units go.
// The root is gate_proj for the feed-forward part and, for heads, the projection with one head per
// unit (q_proj in MHA, k_proj in GQA): the member with the fewest slices per unit.
int64_t units_to_remove(const GroupSet& set, double ratio) {
  int64_t width = set.members[0].slices_per_unit;
  for (const GroupMember& member : set.members) width = std::min(width, member.slices_per_unit);
  const int64_t slices = set.units * width;
  const int64_t kept = static_cast<int64_t>(static_cast<double>(slices) * (1.0 - ratio));
  return (slices - kept) / width;
}

std::vector<int64_t> remove(std::span<const ScoredSet> sets, double ratio) {
  std::vector<int64_t> counts;
  for (const ScoredSet& scored : sets) {
    const int64_t count = units_to_remove(scored.set, ratio);
    PRUNUS_CHECK(count < scored.set.units, InvalidArgument, scored.set.name(), ": ratio ", ratio,
                 " would remove all ", scored.set.units, " units; lower --ratio");
    counts.push_back(count);
  }
  return counts;
}

}  // namespace

// The same ratio for every set (local ranking).
extern const Budget uniform{"uniform", "arXiv:2305.11627, local ranking", remove};

}  // namespace prunus::budget
