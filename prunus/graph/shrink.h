#pragma once
#include <cstdint>
#include <vector>

#include "prunus/graph/groups.h"
#include "prunus/model/model.h"

namespace prunus {

/// Which units of one group set stay. Sets that are not mentioned stay whole.
struct Keep {
  AxisLabel label = AxisLabel::Ffn;
  int layer = -1;
  std::vector<int64_t> units;  ///< ascending, without repetition, at least one
};

/// The model that is left: an ordinary Model whose weights are cut out of the original's whenever
/// they are read. Nothing is copied until then. RMSNorm keeps its own mean over what is left.
/// Layers are numbered as in `model`, also where the keep of label Layer drops some.
/// Throws InvalidArgument: an unknown set, a unit out of range, not ascending, or an empty list;
/// shares that would differ in size; two keeps that cut the same dimension of a tensor; head
/// dimensions (RopePair, ValueDim) that are not cut alike in every layer.
/// Throws Unsupported: a label that cannot be removed (vocab), head dimensions under qk-norm.
Model shrink(const Model& model, const std::vector<Keep>& keeps);

}  // namespace prunus
