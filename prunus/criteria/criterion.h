#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "prunus/base/rng.h"
#include "prunus/calib/needs.h"
#include "prunus/calib/weight_stats.h"

namespace prunus {

/// One weight of a group and the dimension that is cut (0: rows, 1: columns).
struct SliceRequest {
  const WeightStats& stats;
  int dim = 0;
  int64_t slices = 0;    ///< size of that dimension
  PythonRandom& random;  ///< seeded by the run; for criteria that draw
};

/// Columns of one weight that go as units. Column numbers of unit u: the row u of `columns`.
struct UnitRequest {
  const WeightStats& stats;
  at::Tensor columns;   ///< int64 [units, columns of a unit], on the CPU
  int64_t removed = 0;  ///< how many units are to go, for criteria that choose
};

/// An importance: how much the model would lose without each weight, each slice of weights, or each
/// layer. One object per file of this folder. What a criterion has not got, it cannot score. One
/// that needs removals has no function: the losses are its scores.
struct Criterion {
  std::string_view name;
  std::string_view source;
  Needs needs = {};
  /// Score of each weight [out, in], any floating dtype on any device, higher = keep. `stats` may
  /// hold some rows of the weight only.
  at::Tensor (*element)(const WeightStats& stats) = nullptr;
  /// Score of each slice, any floating dtype [slices] on any device, higher = keep. Null: the
  /// elements' scores, added up. Columns of a large weight are scored some rows at a time and the
  /// scores added, so a column's score must be a sum over rows (saliency is given whole instead).
  /// Criteria that need nothing are asked once per group set, with its units as slices; those that
  /// need what experts put out once per mixture, with its experts, the rows of the router, as
  /// slices.
  at::Tensor (*slice)(const SliceRequest& request) = nullptr;
  /// Score of each unit of columns at once, FP64 [units] on the CPU, where it is more than the sum
  /// of its slices; then `slice` is not asked. For criteria of the forward pass with
  /// Members::Consumers.
  at::Tensor (*unit)(const UnitRequest& request) = nullptr;
  /// `unit` chooses UnitRequest::removed units that go together, whose scores are the lowest; of
  /// none it is what each alone is worth. What each set gives must be known before it is scored.
  bool chooses = false;
  /// Score of a whole decoder layer, higher = keep.
  double (*layer)(const LayerStatistics& stats) = nullptr;
  /// What one of a layer's matrices adds to the score of the layer, for criteria of the backward
  /// pass. The joined matrix of a mixture's experts is one.
  double (*layer_matrix)(const WeightStats& stats) = nullptr;
  /// Score of layers that follow each other, by the residual stream in front of them and behind
  /// them at the last token of each window, FP64 [windows, hidden_size] both on the CPU. Layers
  /// then go as one run. For criteria that need the last tokens.
  double (*run)(const at::Tensor& before, const at::Tensor& after) = nullptr;
  /// Of layers: so many at either end of the model stay, whatever their scores.
  int64_t first_kept = 0;
  int64_t last_kept = 0;

  bool scores_slices() const { return slice != nullptr || element != nullptr || unit != nullptr; }
  bool scores_layers() const {
    return layer != nullptr || layer_matrix != nullptr || run != nullptr || needs.removals;
  }
};

namespace criteria {
/// Every criterion, by file name.
std::span<const Criterion* const> all();
}  // namespace criteria

}  // namespace prunus
