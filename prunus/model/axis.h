#pragma once
#include <cstdint>
#include <string_view>

namespace prunus {

/// What an axis of a weight counts. Two slices of two tensors that carry the same label in the same
/// scope are coupled: cut together or not at all (graph/groups.h).
enum class AxisLabel {
  Vocab,    ///< token ids; scope: model
  Hidden,   ///< channels of the residual stream; scope: model
  KvGroup,  ///< one key/value head and the query heads that read it; scope: layer
  Ffn,      ///< intermediate channels of the feed-forward part; scope: layer
  HeadDim,  ///< channels inside a head, shared by every head; scope: layer
};

/// How many consecutive slices of the axis belong to one unit of its label.
enum class Repeat {
  One,         ///< one slice is one unit
  KvHead,      ///< head_dim slices: a key or value head
  QueryHeads,  ///< (num_attention_heads / num_key_value_heads) · head_dim: the heads of one KV head
};

/// One axis of one tensor.
struct Axis {
  AxisLabel label;
  Repeat repeat = Repeat::One;
};

namespace axes {
inline constexpr Axis Vocab{AxisLabel::Vocab};
inline constexpr Axis Hidden{AxisLabel::Hidden};
inline constexpr Axis Ffn{AxisLabel::Ffn};
inline constexpr Axis HeadDim{AxisLabel::HeadDim};
inline constexpr Axis KvHeads{AxisLabel::KvGroup, Repeat::KvHead};
inline constexpr Axis QueryHeads{AxisLabel::KvGroup, Repeat::QueryHeads};
}  // namespace axes

/// Name used in plan.json and messages: "vocab", "hidden", "kv_group", "ffn", "head_dim".
std::string_view axis_name(AxisLabel label);

/// True where every layer has its own units (KvGroup, Ffn, HeadDim); false where one set of units
/// runs through the whole model (Vocab, Hidden).
bool per_layer(AxisLabel label);

}  // namespace prunus
