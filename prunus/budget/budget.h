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
  /// Remove exactly what the reference LLM-Pruner would. No set has shares then.
  bool reference = false;
  int64_t round_to = 1;  ///< only with `reference`: its rounding of the slices removed
};

/// How much each group set gives. One object per file of this folder.
struct Budget {
  std::string_view name;
  std::string_view source;
  /// Units to remove from each share of each set, in order; may be as many as there are.
  std::vector<int64_t> (*remove)(const BudgetRequest& request);
};

namespace budget {
/// Every budget, by file name.
std::span<const Budget* const> all();
}  // namespace budget

}  // namespace prunus
