#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// The slices that one tensor contributes to a group. Dimension `dim` of the tensor, seen as
/// [shares, outer, units per share, inner], holds unit (share, u) at every index (share, ·, u, ·).
struct GroupMember {
  TensorInfo tensor;
  int dim = 0;
  int64_t outer = 1;
  int64_t inner = 1;

  int64_t slices_per_unit() const { return outer * inner; }
};

/// All groups of one axis label in one scope. Unit u is one group: what is removed together.
/// Removing it equals setting all its slices to zero (up to the mean inside RMSNorm for Hidden; up
/// to the softmax over what is left for QueryHead: its output is what vanishes).
/// Units are numbered share by share; where there is more than one share, as many units must go
/// from each. Source: LLM-Pruner (arXiv:2305.11627) section 3.1; here found from labels, not from a
/// trace.
struct GroupSet {
  AxisLabel label = AxisLabel::Ffn;
  int layer = -1;  ///< −1: the whole model
  int64_t units = 0;
  std::vector<GroupMember> members = {};  ///< in table order
  int64_t shares = 1;
  /// Stock kernels want so many slices, or a multiple, to be left (pipeline/allocate.h).
  int64_t kernel_multiple = 1;
  /// Where units are whole layers, or one part of each: the tensors of the one with the fewest
  /// weights, so that what units weigh is never overestimated. Such a set has no members.
  std::vector<TensorInfo> least_unit = {};

  /// "layers.3.ffn", "hidden".
  std::string name() const;
  int64_t units_per_share() const { return units / shares; }
  /// Slices of one unit in the member that has the fewest: the resolution of scores inside a unit
  /// (head_dim for heads, 1 for channels).
  int64_t width() const;
  /// Weights that leave the model with one unit.
  int64_t parameters_per_unit() const;
  /// The same in bytes of the source's dtypes.
  int64_t bytes_per_unit(const WeightSource& source) const;
};

/// The decoder layers as a set: dropping one leaves the residual stream as it was.
GroupSet layer_set(const Model& model);
/// The attention parts as a set, and the feed-forward parts. Unit u is that of the u-th layer that
/// has the part.
std::vector<GroupSet> part_sets(const Model& model);
/// The sub-layer that the units of a label are; null of other labels.
std::optional<SubLayer> sub_layer_of(AxisLabel label);
/// Numbers of the layers that have it, ascending.
std::vector<int64_t> layers_with(const Model& model, SubLayer part);

/// The dependency groups of a model: two (tensor, dimension) pairs belong together when they carry
/// the same label in the same scope. One set per label and scope, in the order of kCuts inside a
/// scope and of the tensors across scopes. The same weight is in several sets: a query head is part
/// of a KV group and a unit of its own; which sets to cut is the choice of granularity.
std::vector<GroupSet> find_groups(const Model& model);

}  // namespace prunus
