#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "prunus/base/rng.h"
#include "prunus/calib/weight_stats.h"

namespace prunus {

/// One matrix of a group and the dimension that would be cut (0: rows, 1: columns).
struct SliceRequest {
  const WeightStats& stats;
  int dim = 0;
  int64_t slices = 0;    ///< size of that dimension
  PythonRandom& random;  ///< seeded by the run; for criteria that draw
};

/// An importance: how much the model would lose without each slice. One object per file of this
/// folder. Vectors (norms, biases) are cut with their group but never scored.
struct Criterion {
  std::string_view name;
  std::string_view source;
  Needs needs;
  /// Score of each slice, FP32 or FP64 [slices] on any device, ≥ 0, higher = keep.
  at::Tensor (*score)(const SliceRequest& request);
};

namespace criteria {
/// Every criterion, by file name.
std::span<const Criterion* const> all();
}  // namespace criteria

}  // namespace prunus
