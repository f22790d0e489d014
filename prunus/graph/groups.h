#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/model/model.h"

namespace prunus {

/// The slices that one tensor contributes to a group: unit u owns slices
/// [u · slices_per_unit, (u + 1) · slices_per_unit) of dimension `dim`.
struct GroupMember {
  TensorInfo tensor;
  int dim = 0;
  int64_t slices_per_unit = 1;
};

/// All groups of one axis label in one scope. Unit u is one group: what is removed together.
/// Removing it equals setting all its slices to zero (up to the mean inside RMSNorm for Hidden).
/// Source: LLM-Pruner (arXiv:2305.11627) section 3.1; here found from labels, not from a trace.
struct GroupSet {
  AxisLabel label = AxisLabel::Ffn;
  int layer = -1;  ///< −1: the whole model
  int64_t units = 0;
  std::vector<GroupMember> members;  ///< in table order

  /// "layers.3.ffn", "hidden".
  std::string name() const;
  /// Weights that leave the model with one unit.
  int64_t parameters_per_unit() const;
};

/// The dependency groups of a model: two (tensor, dimension) pairs belong together when they carry
/// the same label in the same scope. One set per label and scope, in the order of the tensors.
/// Vocab and HeadDim are found too, though no method removes them.
std::vector<GroupSet> find_groups(const Model& model);

}  // namespace prunus
