#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "prunus/graph/groups.h"

namespace prunus {

/// A group set with the importance of each of its units.
struct ScoredSet {
  GroupSet set;
  std::vector<double> scores;  ///< [units], higher = keep
};

/// How much each group set gives. One object per file of this folder.
struct Budget {
  std::string_view name;
  std::string_view source;
  /// Units to remove from each set, in order; less than the set's units. `ratio` in [0, 1) is the
  /// fraction of units, not of parameters.
  /// Throws InvalidArgument where a set would lose everything.
  std::vector<int64_t> (*remove)(std::span<const ScoredSet> sets, double ratio);
};

namespace budget {
/// Every budget, by file name.
std::span<const Budget* const> all();
}  // namespace budget

}  // namespace prunus
