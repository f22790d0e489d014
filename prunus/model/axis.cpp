#include "prunus/model/axis.h"

namespace prunus {

std::string_view axis_name(AxisLabel label) {
  switch (label) {
    case AxisLabel::Vocab:
      return "vocab";
    case AxisLabel::Hidden:
      return "hidden";
    case AxisLabel::Layer:
      return "layer";
    case AxisLabel::KvGroup:
      return "kv_group";
    case AxisLabel::QueryHead:
      return "query_head";
    case AxisLabel::RopePair:
      return "rope_pair";
    case AxisLabel::ValueDim:
      return "value_dim";
    case AxisLabel::Ffn:
      return "ffn";
    case AxisLabel::Expert:
      return "expert";
    case AxisLabel::SharedFfn:
      return "shared_ffn";
    case AxisLabel::AttentionPart:
      return "attention_part";
    case AxisLabel::FeedForwardPart:
      return "ffn_part";
  }
  return "?";
}

bool per_layer(AxisLabel label) {
  return label != AxisLabel::Vocab && label != AxisLabel::Hidden && !numbers_layers(label);
}

bool numbers_layers(AxisLabel label) {
  return label == AxisLabel::Layer || label == AxisLabel::AttentionPart ||
         label == AxisLabel::FeedForwardPart;
}

}  // namespace prunus
