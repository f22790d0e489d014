#include "prunus/graph/shrink.h"

#include <map>
#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

// Slice indices to keep, per dimension of a tensor; undefined = all of them.
using Cuts = std::array<at::Tensor, 2>;

class ShrunkSource : public WeightSource {
 public:
  ShrunkSource(std::shared_ptr<const WeightSource> whole,
               std::map<std::string, TensorInfo> originals, std::map<std::string, Cuts> cuts)
      : whole_(std::move(whole)), originals_(std::move(originals)), cuts_(std::move(cuts)) {}

  at::Tensor read(const TensorInfo& tensor) const override {
    const TensorInfo& original = originals_.at(tensor.name);
    at::Tensor weight = whole_->read(original);
    const auto found = cuts_.find(tensor.name);
    if (found == cuts_.end()) return weight;
    for (int64_t dim = 0; dim < weight.dim(); ++dim) {
      const at::Tensor& slices = found->second[static_cast<size_t>(dim)];
      if (slices.defined()) weight = at::index_select(weight, dim, slices);
    }
    whole_->release(original);
    return weight;
  }
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    return whole_->dtype(originals_.at(tensor.name));
  }
  void prefetch(const TensorInfo& tensor) const override {
    whole_->prefetch(originals_.at(tensor.name));
  }
  void release(const TensorInfo& tensor) const override {
    whole_->release(originals_.at(tensor.name));
  }

 private:
  std::shared_ptr<const WeightSource> whole_;
  std::map<std::string, TensorInfo> originals_;
  std::map<std::string, Cuts> cuts_;
};

void check_keep(const GroupSet& set, const Keep& keep) {
  PRUNUS_CHECK(!keep.units.empty(), InvalidArgument, set.name(),
               ": nothing is kept; a group set must keep at least one unit");
  int64_t last = -1;
  for (const int64_t unit : keep.units) {
    PRUNUS_CHECK(unit > last && unit < set.units, InvalidArgument, set.name(), ": kept unit ", unit,
                 " after ", last, "; expected ascending numbers below ", set.units);
    last = unit;
  }
}

const GroupSet& find_set(const std::vector<GroupSet>& sets, const Keep& keep) {
  for (const GroupSet& set : sets) {
    if (set.label == keep.label && set.layer == keep.layer) return set;
  }
  PRUNUS_FAIL(InvalidArgument, "the model has no group set ",
              GroupSet{keep.label, keep.layer, 0, {}}.name());
}

void resize(ModelConfig& config, const GroupSet& set, int64_t units) {
  const auto layer = static_cast<size_t>(std::max(set.layer, 0));
  switch (set.label) {
    case AxisLabel::Ffn:
      config.layers[layer].intermediate_size = units;
      return;
    case AxisLabel::KvGroup: {
      LayerShape& shape = config.layers[layer];
      shape.num_attention_heads = shape.num_attention_heads / shape.num_key_value_heads * units;
      shape.num_key_value_heads = units;
      return;
    }
    case AxisLabel::Hidden:
      config.hidden_size = units;
      return;
    case AxisLabel::Vocab:
    case AxisLabel::HeadDim:
      break;
  }
  PRUNUS_FAIL(Unsupported, set.name(), ": units of this axis cannot be removed");
}

at::Tensor slices_of(const std::vector<int64_t>& units, int64_t width) {
  std::vector<int64_t> slices;
  slices.reserve(units.size() * static_cast<size_t>(width));
  for (const int64_t unit : units) {
    for (int64_t i = 0; i < width; ++i) slices.push_back(unit * width + i);
  }
  return at::tensor(slices, at::kLong);
}

}  // namespace

Model shrink(const Model& model, const std::vector<Keep>& keeps) {
  const std::vector<GroupSet> sets = find_groups(model);
  ModelConfig config = model.config();
  std::map<std::string, Cuts> cuts;
  for (const Keep& keep : keeps) {
    const GroupSet& set = find_set(sets, keep);
    check_keep(set, keep);
    resize(config, set, static_cast<int64_t>(keep.units.size()));
    if (static_cast<int64_t>(keep.units.size()) == set.units) continue;
    for (const GroupMember& member : set.members) {
      cuts[member.tensor.name][static_cast<size_t>(member.dim)] =
          slices_of(keep.units, member.slices_per_unit);
    }
  }
  std::map<std::string, TensorInfo> originals;
  for (const TensorInfo& tensor : model.tensors()) originals[tensor.name] = tensor;
  return Model(
      std::move(config),
      std::make_shared<ShrunkSource>(model.shared_source(), std::move(originals), std::move(cuts)));
}

}  // namespace prunus
