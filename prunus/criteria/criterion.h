#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "prunus/base/rng.h"
#include "prunus/calib/weight_stats.h"

namespace prunus {

/// One weight of a group and the dimension that is cut (0: rows, 1: columns).
struct SliceRequest {
  const WeightStats& stats;
  int dim = 0;
  int64_t slices = 0;    ///< size of that dimension
  PythonRandom& random;  ///< seeded by the run; for criteria that draw
};

/// An importance: how much the model would lose without each slice. One object per file of this
/// folder.
struct Criterion {
  std::string_view name;
  std::string_view source;
  Needs needs;
  /// Score of each slice, any floating dtype [slices] on any device, ≥ 0, higher = keep.
  /// Columns of a large weight are scored some rows at a time and the scores added, so a column's
  /// score must be a sum over rows (saliency is given whole instead). Criteria that need nothing
  /// are asked once per group set, with its units as slices. Those that need ExpertOutput are asked
  /// once per mixture, with its experts, the rows of the router, as slices.
  at::Tensor (*score)(const SliceRequest& request);
};

namespace criteria {
/// Every criterion, by file name.
std::span<const Criterion* const> all();
}  // namespace criteria

}  // namespace prunus
