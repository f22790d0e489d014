#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "prunus/graph/groups.h"

namespace prunus {

/// What makes scores of different sets comparable in a global ranking.
enum class Normalisation {
  None,      ///< as they are (the reference)
  Mean,      ///< divided by the set's mean score
  Max,       ///< divided by the set's largest score
  Params,    ///< divided by the parameters that leave with the unit
  Standard,  ///< less the set's mean, divided by the standard deviation of its slices' scores
};
/// Throws InvalidArgument listing the known names: none, mean, max, params,
/// standard.
Normalisation parse_normalisation(std::string_view name);
std::string_view normalisation_name(Normalisation normalisation);

/// A group set with the importance of each of its units.
struct ScoredSet {
  GroupSet set = {};
  std::vector<double> scores = {};  ///< [units], higher = keep
  bool logarithmic = false;         ///< scores are natural logarithms (reduction prod)
  int64_t initial_units = 0;        ///< before iterative pruning began; 0: set.units
  /// Of the slices' scores, times the slices of a unit: what Normalisation::Standard divides by.
  /// 0: the standard deviation of the units' scores.
  double deviation = 0;

  int64_t units_at_start() const { return initial_units != 0 ? initial_units : set.units; }

  /// What each further cut costs, ascending: where the set has shares, one unit of every share goes
  /// at a time, the r-th lowest of each, and their scores are added (as what they stand for, where
  /// they are logarithms). [units_per_share] Throws Numeric if a score is NaN or infinite,
  /// InvalidArgument for Standard with logarithms or with shares.
  std::vector<double> levels(Normalisation normalisation = Normalisation::None) const;

  /// The units that are left when the lowest `removed` of every share go, ascending. Equal scores:
  /// the lower index goes first. Throws Numeric if a score is NaN or infinite.
  std::vector<int64_t> keep_best(int64_t removed) const;
};

}  // namespace prunus
