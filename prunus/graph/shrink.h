#pragma once
#include <cstdint>
#include <vector>

#include "prunus/graph/groups.h"
#include "prunus/model/model.h"

namespace prunus {

/// Which units of one group set stay, or, for the labels Layer, AttentionPart and FeedForwardPart,
/// which layers stay, keep their attention, keep their feed-forward part: layer −1, units the
/// layers' numbers in the model. Sets that are not mentioned stay whole.
struct Keep {
  AxisLabel label = AxisLabel::Ffn;
  int layer = -1;
  std::vector<int64_t> units;  ///< ascending, without repetition, at least one
};

/// The keep that takes a sub-layer out of these layers (in any order) of a model, and leaves it in
/// all others. Throws InvalidArgument for a layer that the model does not have.
Keep without_sub_layer(const Model& model, SubLayer part, const std::vector<int64_t>& layers);

/// The model that is left: an ordinary Model whose weights are cut out of the original's whenever
/// they are read. Nothing is copied until then. RMSNorm keeps its own mean over what is left.
/// Layers are numbered as in `model`, also where the keep of label Layer drops some. Keeps of what
/// is dropped are checked and have no effect.
/// Throws InvalidArgument: an unknown set, a unit out of range, not ascending, or an empty list;
/// shares that would differ in size; two keeps that cut the same dimension of a tensor; head
/// dimensions (RopePair, ValueDim) that are not cut alike in every layer; nothing left that has
/// attention, or a feed-forward part.
/// Throws Unsupported: head dimensions under qk-norm.
/// Units of Vocab are token ids; the tokenizer is the caller's to follow (text/token_trees.h).
Model shrink(const Model& model, const std::vector<Keep>& keeps);

}  // namespace prunus
