#include "prunus/model/axis.h"

namespace prunus {

std::string_view axis_name(AxisLabel label) {
  switch (label) {
    case AxisLabel::Vocab:
      return "vocab";
    case AxisLabel::Hidden:
      return "hidden";
    case AxisLabel::KvGroup:
      return "kv_group";
    case AxisLabel::Ffn:
      return "ffn";
    case AxisLabel::HeadDim:
      return "head_dim";
  }
  return "?";
}

bool per_layer(AxisLabel label) { return label != AxisLabel::Vocab && label != AxisLabel::Hidden; }

}  // namespace prunus
