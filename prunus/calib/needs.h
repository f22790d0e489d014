#pragma once
#include <algorithm>
#include <array>

#include "prunus/calib/statistic.h"

namespace prunus {

/// What must be known of a model before it can be scored: the weights, and a set of statistics; or,
/// alone, one of the two that are no sums over a layer's tokens.
struct Needs {
  bool weights = false;  ///< where statistics are asked for, the weights come with them
  std::array<const Statistic*, 4> statistics = {};  ///< null: none; in any order
  bool last_tokens = false;  ///< the residual stream at each window's end, between all layers
  bool removals = false;     ///< the loss of the model without each layer, or part of a layer

  bool has(const Statistic& one) const {
    return std::find(statistics.begin(), statistics.end(), &one) != statistics.end();
  }
  bool in(Pass pass) const {
    return std::any_of(statistics.begin(), statistics.end(),
                       [&](const Statistic* one) { return one != nullptr && one->pass == pass; });
  }
  /// Whether text must run through the model.
  bool calibration() const {
    return in(Pass::Forward) || in(Pass::Backward) || last_tokens || removals;
  }
};

}  // namespace prunus
