#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "prunus/graph/scored_set.h"

namespace prunus {

/// One further cut of one set.
struct RankedCut {
  double cost = 0;    ///< what the units' scores add up to
  size_t set = 0;     ///< index of the set
  int64_t units = 1;  ///< one of every share
};

/// All cuts of some sets, cheapest first; equal costs: the earlier set. Throws as
/// ScoredSet::levels.
std::vector<RankedCut> ranked_cuts(std::span<const ScoredSet> sets, Normalisation normalisation,
                                   const std::vector<size_t>& pool);

/// Units that have to go so that a ratio of those at the start is gone, counted over some sets:
/// n = now − trunc(start·(1 − ratio)), at least 0.
int64_t units_to_cut(std::span<const ScoredSet> sets, double ratio,
                     const std::vector<size_t>& pool);

/// Units of each share of one set that have to go for a ratio. LLM-Pruner counts in slices of the
/// group's root and removes whole units: with C slices now and C0 at the start,
/// n = C − trunc(C0·(1 − ratio)) in double arithmetic, less n mod `round_to`, and
/// floor(n / slices per unit) units go. The root is gate_proj for the feed-forward part and, for
/// heads, the projection with one head per unit (q_proj in MHA, k_proj in GQA): the member with the
/// fewest slices per unit. Source: torch_pruning's MetaPruner in LLM-Pruner, commit 128a07d.
int64_t units_to_cut_alone(const ScoredSet& scored, double ratio, int64_t round_to = 1);

}  // namespace prunus
