#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "prunus/graph/scored_set.h"

namespace prunus {

/// What a budget must know besides the scores.
struct BudgetRequest {
  std::span<const ScoredSet> sets;
  std::span<const double> ratios;  ///< per set, in [0, 1): fraction of units at the start; global
                                   ///< ranking compares sets of equal ratio with each other
  Normalisation normalisation = Normalisation::None;
  int64_t round_to = 1;  ///< for budgets that round
};

/// How much each group set gives. One object per file of this folder.
struct Budget {
  std::string_view name;
  std::string_view source;
  /// Units to remove from each share of each set, in order; may be as many as there are.
  std::vector<int64_t> (*remove)(const BudgetRequest& request);
  bool ranks_sets = false;  ///< what a set gives depends on the scores of all sets
  /// Rounds to multiples by itself, and may take more than there is, where a set is then left
  /// whole: as a published program does. No set has shares.
  bool follows_program = false;
  /// Nothing can be said by scores alone: `remove` is null, and models are run with less and less.
  bool measures = false;
  /// `remove` is null: feed-forward parts become narrower, attention parts go as a whole.
  bool two_stages = false;
};

namespace budget {
/// Every budget, by file name.
std::span<const Budget* const> all();
}  // namespace budget

}  // namespace prunus
