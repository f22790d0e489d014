#include "prunus/graph/groups.h"

#include <map>

#include "prunus/base/error.h"

namespace prunus {
namespace {

int64_t slices_per_unit(const ModelConfig& config, int layer, Axis axis) {
  if (axis.repeat == Repeat::One) return 1;
  const LayerShape& shape = config.layers[static_cast<size_t>(layer)];
  const int64_t heads =
      axis.repeat == Repeat::QueryHeads ? shape.num_attention_heads / shape.num_key_value_heads : 1;
  return heads * config.head_dim;
}

}  // namespace

std::string GroupSet::name() const {
  const std::string label_name(axis_name(label));
  return layer < 0 ? label_name : c10::str("layers.", layer, ".", label_name);
}

int64_t GroupSet::parameters_per_unit() const {
  int64_t count = 0;
  for (const GroupMember& member : members) {
    count += c10::multiply_integers(member.tensor.shape) / units;
  }
  return count;
}

std::vector<GroupSet> find_groups(const Model& model) {
  std::vector<GroupSet> sets;
  std::map<std::pair<int, AxisLabel>, size_t> index;
  for (const TensorInfo& tensor : model.tensors()) {
    for (int dim = 0; dim < tensor.spec->rank; ++dim) {
      const Axis axis = tensor.spec->axes[static_cast<size_t>(dim)];
      const int layer = per_layer(axis.label) ? tensor.layer : -1;
      const auto [at, fresh] = index.try_emplace({layer, axis.label}, sets.size());
      const int64_t slices = slices_per_unit(model.config(), layer, axis);
      const int64_t units = tensor.shape[static_cast<size_t>(dim)] / slices;
      if (fresh) sets.push_back({axis.label, layer, units, {}});
      GroupSet& set = sets[at->second];
      TORCH_INTERNAL_ASSERT(set.units == units, "axis ", set.name(), " has two sizes");
      set.members.push_back({tensor, dim, slices});
    }
  }
  return sets;
}

}  // namespace prunus
