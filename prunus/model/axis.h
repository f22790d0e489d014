#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace prunus {

/// What an axis of a weight is a product of. `Query` counts the query heads that read one key/value
/// head; `Half` × `Pair` are the channels of a head that rotary embedding turns together (channel p
/// with channel p + head_dim/2); `Value` the channels of a value head, which nothing turns.
enum class Factor {
  None,
  Vocab,
  Hidden,
  Ffn,
  KvGroup,
  Query,
  Half,
  Pair,
  Value,
  Whole,      ///< channels of a query or key head where nothing may cut them
  Position,   ///< learned positions
  Expert,     ///< feed-forward experts
  SharedFfn,  ///< intermediate channels of the shared expert
  One         ///< a single row
};

/// One axis of one tensor: its factors, outermost first; unused places are None.
struct Axis {
  std::array<Factor, 4> factors{};
};

namespace axes {
inline constexpr Axis Vocab{{Factor::Vocab}};
inline constexpr Axis Hidden{{Factor::Hidden}};
inline constexpr Axis Ffn{{Factor::Ffn}};
inline constexpr Axis QueryHeads{{Factor::KvGroup, Factor::Query, Factor::Half, Factor::Pair}};
inline constexpr Axis KeyHeads{{Factor::KvGroup, Factor::Half, Factor::Pair}};
inline constexpr Axis ValueHeads{{Factor::KvGroup, Factor::Value}};
inline constexpr Axis MixedHeads{{Factor::KvGroup, Factor::Query, Factor::Value}};
inline constexpr Axis HeadChannels{{Factor::Half, Factor::Pair}};
inline constexpr Axis WholeQueryHeads{{Factor::KvGroup, Factor::Query, Factor::Whole}};
inline constexpr Axis WholeKeyHeads{{Factor::KvGroup, Factor::Whole}};
inline constexpr Axis WholeHead{{Factor::Whole}};
inline constexpr Axis Position{{Factor::Position}};
inline constexpr Axis Expert{{Factor::Expert}};
inline constexpr Axis ExpertFfn{{Factor::Expert, Factor::Ffn}};
inline constexpr Axis SharedFfn{{Factor::SharedFfn}};
inline constexpr Axis One{{Factor::One}};
}  // namespace axes

/// What can be cut as a unit. Two slices of two tensors that belong to the same unit of a label in
/// the same scope are coupled: cut together or not at all (graph/groups.h).
enum class AxisLabel {
  Vocab,      ///< token ids; scope: model
  Hidden,     ///< channels of the residual stream; scope: model
  Layer,      ///< whole decoder layers; scope: model; no axis of a tensor
  KvGroup,    ///< one key/value head and the query heads that read it; scope: layer
  QueryHead,  ///< one query head inside its KV group; scope: layer, as many from each group
  RopePair,   ///< one rotated pair of channels of every query and key head; scope: layer
  ValueDim,  ///< one channel of a value head, and where it is read; scope: layer, as many from each
  Ffn,       ///< intermediate channels of the feed-forward part; scope: layer, as many per expert
  Expert,    ///< one feed-forward expert with its row of the router; scope: layer
  SharedFfn,        ///< intermediate channels of the shared expert; scope: layer
  AttentionPart,    ///< attention of a layer with its norms; scope: model; no axis of a tensor
  FeedForwardPart,  ///< feed-forward part of a layer with its norms; scope: model; likewise
};

/// The factor whose index is the unit, and the factor (or None) that parts the units into equal
/// shares: the same number must go from each share.
struct Cut {
  AxisLabel label;
  Factor unit;
  Factor share = Factor::None;
};

/// Every label that cuts an axis (all but Layer and the parts of layers).
inline constexpr Cut kCuts[] = {
    {AxisLabel::Vocab, Factor::Vocab},
    {AxisLabel::Hidden, Factor::Hidden},
    {AxisLabel::KvGroup, Factor::KvGroup},
    {AxisLabel::QueryHead, Factor::Query, Factor::KvGroup},
    {AxisLabel::RopePair, Factor::Pair},
    {AxisLabel::ValueDim, Factor::Value, Factor::KvGroup},
    {AxisLabel::Ffn, Factor::Ffn, Factor::Expert},
    {AxisLabel::Expert, Factor::Expert},
    {AxisLabel::SharedFfn, Factor::SharedFfn},
};

/// Name used in plan.json and messages: "vocab", "hidden", "layer", "kv_group", "query_head",
/// "rope_pair", "value_dim", "ffn", "expert", "shared_ffn", "attention_part", "ffn_part".
std::string_view axis_name(AxisLabel label);

/// True where every layer has its own units; false where one set of units runs through the whole
/// model (Vocab, Hidden, Layer, AttentionPart, FeedForwardPart).
bool per_layer(AxisLabel label);

/// True where the units are the decoder layers: Layer, AttentionPart, FeedForwardPart.
bool numbers_layers(AxisLabel label);

}  // namespace prunus
