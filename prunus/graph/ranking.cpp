#include "prunus/graph/ranking.h"

#include <algorithm>

namespace prunus {

std::vector<RankedCut> ranked_cuts(std::span<const ScoredSet> sets, Normalisation normalisation,
                                   const std::vector<size_t>& pool) {
  std::vector<RankedCut> cuts;
  for (const size_t i : pool) {
    for (const double cost : sets[i].levels(normalisation)) {
      cuts.push_back({cost, i, sets[i].set.shares});
    }
  }
  std::stable_sort(cuts.begin(), cuts.end(),
                   [](const RankedCut& a, const RankedCut& b) { return a.cost < b.cost; });
  return cuts;
}

int64_t units_to_cut(std::span<const ScoredSet> sets, double ratio,
                     const std::vector<size_t>& pool) {
  int64_t now = 0;
  int64_t start = 0;
  for (const size_t i : pool) {
    now += sets[i].set.units;
    start += sets[i].units_at_start();
  }
  return std::max<int64_t>(0,
                           now - static_cast<int64_t>(static_cast<double>(start) * (1.0 - ratio)));
}

int64_t units_to_cut_alone(const ScoredSet& scored, double ratio, int64_t round_to) {
  const int64_t width = scored.set.width();
  const int64_t slices = scored.set.units_per_share() * width;
  const int64_t initial = scored.units_at_start() / scored.set.shares * width;
  const auto kept = static_cast<int64_t>(static_cast<double>(initial) * (1.0 - ratio));
  int64_t gone = std::max<int64_t>(0, slices - kept);
  gone -= gone % round_to;
  return gone / width;
}

}  // namespace prunus
