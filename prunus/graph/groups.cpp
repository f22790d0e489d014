#include "prunus/graph/groups.h"

#include <algorithm>
#include <map>

#include "prunus/base/error.h"

namespace prunus {
namespace {

// How an axis looks to a cut, or nothing where the cut does not touch it.
struct Layout {
  int64_t shares = 1;
  int64_t outer = 1;
  int64_t units = 1;  // per share
  int64_t inner = 1;
};

std::optional<Layout> layout_of(const ModelConfig& config, int layer, const Axis& axis, Cut cut) {
  Layout layout;
  bool found = false;
  for (const Factor factor : axis.factors) {
    const int64_t size = factor_size(config, layer, factor);
    if (factor == Factor::None) break;
    if (factor == cut.unit) {
      layout.units = size;
      found = true;
    } else if (factor == cut.share) {
      TORCH_INTERNAL_ASSERT(!found && layout.outer == 1, "a share must be the outermost factor");
      layout.shares = size;
    } else {
      (found ? layout.inner : layout.outer) *= size;
    }
  }
  if (!found) return std::nullopt;
  return layout;
}

class Finder {
 public:
  explicit Finder(const Model& model) : model_(model) {}

  void add(const TensorInfo& tensor, int dim, Cut cut) {
    const Axis& axis = tensor.spec->axes[static_cast<size_t>(dim)];
    const auto layout = layout_of(model_.config(), tensor.layer, axis, cut);
    if (!layout) return;
    const int layer = per_layer(cut.label) ? tensor.layer : -1;
    const int64_t units = layout->shares * layout->units;
    GroupSet& set = sets_[{layer, cut.label}];
    if (set.members.empty()) set = {cut.label, layer, units, {}, layout->shares};
    const bool same = set.units == units && set.shares == layout->shares;
    TORCH_INTERNAL_ASSERT(same, "axis ", set.name(), " has two sizes");
    set.members.push_back({tensor, dim, layout->outer, layout->inner});
  }

  std::vector<GroupSet> result() && {
    std::vector<GroupSet> sets;
    for (auto& [key, set] : sets_) sets.push_back(std::move(set));
    return sets;
  }

 private:
  const Model& model_;
  std::map<std::pair<int, AxisLabel>, GroupSet> sets_;
};

// Of units that are layers or parts of layers, by their tensors.
GroupSet set_of(AxisLabel label, const std::vector<std::vector<TensorInfo>>& units) {
  const auto weights = [](const std::vector<TensorInfo>& tensors) {
    int64_t count = 0;
    for (const TensorInfo& tensor : tensors) count += c10::multiply_integers(tensor.shape);
    return count;
  };
  const auto least =
      std::min_element(units.begin(), units.end(),
                       [&](const auto& a, const auto& b) { return weights(a) < weights(b); });
  return {.label = label,
          .units = static_cast<int64_t>(units.size()),
          .least_unit = least == units.end() ? std::vector<TensorInfo>() : *least};
}

}  // namespace

std::string GroupSet::name() const {
  const std::string label_name(axis_name(label));
  return layer < 0 ? label_name : c10::str("layers.", layer, ".", label_name);
}

int64_t GroupSet::width() const {
  const auto narrowest = std::min_element(
      members.begin(), members.end(),
      [](const GroupMember& a, const GroupMember& b) { return a.inner < b.inner; });
  return narrowest == members.end() ? 1 : narrowest->inner;
}

int64_t GroupSet::parameters_per_unit() const {
  int64_t count = 0;
  for (const TensorInfo& tensor : least_unit) count += c10::multiply_integers(tensor.shape);
  for (const GroupMember& member : members) {
    count += c10::multiply_integers(member.tensor.shape) / units;
  }
  return count;
}

int64_t GroupSet::bytes_per_unit(const WeightSource& source) const {
  int64_t bytes = 0;
  for (const TensorInfo& tensor : least_unit) {
    bytes += c10::multiply_integers(tensor.shape) *
             static_cast<int64_t>(c10::elementSize(source.dtype(tensor)));
  }
  for (const GroupMember& member : members) {
    bytes += c10::multiply_integers(member.tensor.shape) / units *
             static_cast<int64_t>(c10::elementSize(source.dtype(member.tensor)));
  }
  return bytes;
}

GroupSet layer_set(const Model& model) {
  std::vector<std::vector<TensorInfo>> layers(static_cast<size_t>(model.layer_count()));
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.layer >= 0) layers[static_cast<size_t>(tensor.layer)].push_back(tensor);
  }
  return set_of(AxisLabel::Layer, layers);
}

std::vector<GroupSet> part_sets(const Model& model) {
  std::vector<GroupSet> sets;
  for (const AxisLabel label : {AxisLabel::AttentionPart, AxisLabel::FeedForwardPart}) {
    const SubLayer part = *sub_layer_of(label);
    std::map<int, std::vector<TensorInfo>> tensors;  // by layer
    for (const TensorInfo& tensor : model.tensors()) {
      if (tensor.layer >= 0 && sub_layer_of(tensor.spec->role) == part) {
        tensors[tensor.layer].push_back(tensor);
      }
    }
    std::vector<std::vector<TensorInfo>> units;
    for (auto& [layer, own] : tensors) units.push_back(std::move(own));
    sets.push_back(set_of(label, units));
  }
  return sets;
}

std::optional<SubLayer> sub_layer_of(AxisLabel label) {
  if (label == AxisLabel::AttentionPart) return SubLayer::Attention;
  if (label == AxisLabel::FeedForwardPart) return SubLayer::FeedForward;
  return std::nullopt;
}

std::vector<int64_t> layers_with(const Model& model, SubLayer part) {
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < model.layer_count(); ++layer) {
    if (model.config().layers[static_cast<size_t>(layer)].has(part)) layers.push_back(layer);
  }
  return layers;
}

std::vector<GroupSet> find_groups(const Model& model) {
  Finder finder(model);
  for (const TensorInfo& tensor : model.tensors()) {
    for (int dim = 0; dim < tensor.spec->rank; ++dim) {
      for (const Cut& cut : kCuts) finder.add(tensor, dim, cut);
    }
  }
  return std::move(finder).result();
}

}  // namespace prunus
