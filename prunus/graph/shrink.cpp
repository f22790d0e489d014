#include "prunus/graph/shrink.h"

#include <map>
#include <memory>
#include <numeric>
#include <string>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/model/weight_origin.h"

namespace prunus {
namespace {

// Slice indices to keep, per dimension of a tensor; undefined = all of them.
using Cuts = std::array<at::Tensor, 2>;

class ShrunkSource : public WeightSource, public TracedSource {
 public:
  ShrunkSource(std::shared_ptr<const WeightSource> whole,
               std::map<std::string, TensorInfo> originals, std::map<std::string, Cuts> cuts)
      : whole_(std::move(whole)), originals_(std::move(originals)), cuts_(std::move(cuts)) {}

  at::Tensor read(const TensorInfo& tensor) const override {
    const TensorInfo& original = originals_.at(tensor.name);
    at::Tensor weight = whole_->read(original);
    if (!cuts_.contains(original.name)) return weight;
    weight = cut(cut(weight, original, 0), original, 1);
    whole_->release(original);
    return weight;
  }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    const TensorInfo& original = originals_.at(tensor.name);
    const at::Tensor& kept = slices(original, 0);
    const at::Tensor rows = kept.defined()
                                ? whole_->select_rows(original, kept.narrow(0, begin, count))
                                : whole_->read_rows(original, begin, count);
    return cut(rows, original, 1);
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    const TensorInfo& original = originals_.at(tensor.name);
    const at::Tensor& kept = slices(original, 0);
    return cut(whole_->select_rows(original, kept.defined() ? kept.index_select(0, rows) : rows),
               original, 1);
  }
  bool has(const TensorInfo& tensor) const override {
    const auto original = originals_.find(tensor.name);
    return original != originals_.end() && whole_->has(original->second);
  }
  std::optional<WeightOrigin> origin(const TensorInfo& tensor) const override {
    const TensorInfo& original = originals_.at(tensor.name);
    auto from = origin_of(*whole_, original);
    if (!from) return from;
    from->rows = chosen(from->rows, slices(original, 0));
    from->columns = chosen(from->columns, slices(original, 1));
    return from;
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
  // Of a choice the part that is kept; undefined is all.
  static at::Tensor chosen(const at::Tensor& before, const at::Tensor& kept) {
    if (!kept.defined()) return before;
    return before.defined() ? before.index_select(0, kept) : kept;
  }
  const at::Tensor& slices(const TensorInfo& original, size_t dim) const {
    static const at::Tensor all;
    const auto found = cuts_.find(original.name);
    return found == cuts_.end() ? all : found->second[dim];
  }
  at::Tensor cut(const at::Tensor& weight, const TensorInfo& original, int64_t dim) const {
    const at::Tensor& kept = slices(original, static_cast<size_t>(dim));
    return kept.defined() ? at::index_select(weight, dim, kept) : weight;
  }

  std::shared_ptr<const WeightSource> whole_;
  std::map<std::string, TensorInfo> originals_;
  std::map<std::string, Cuts> cuts_;
};

// Ascending units within range; where the set has shares, as many of each.
void check_units(const std::string& name, const std::vector<int64_t>& kept, int64_t units) {
  PRUNUS_CHECK(!kept.empty(), InvalidArgument, name,
               ": nothing is kept; a group set must keep at least one unit");
  int64_t last = -1;
  for (const int64_t unit : kept) {
    PRUNUS_CHECK(unit > last && unit < units, InvalidArgument, name, ": kept unit ", unit,
                 " after ", last, "; expected ascending numbers below ", units);
    last = unit;
  }
}

void check_shares(const GroupSet& set, const std::vector<int64_t>& kept) {
  std::vector<int64_t> counts(static_cast<size_t>(set.shares), 0);
  for (const int64_t unit : kept) ++counts[static_cast<size_t>(unit / set.units_per_share())];
  for (const int64_t count : counts) {
    PRUNUS_CHECK(count == counts[0], InvalidArgument, set.name(), ": keeps ", counts[0],
                 " units in the first share (KV group, expert) and ", count,
                 " in another; expected as many in each");
  }
}

const GroupSet& find_set(const std::vector<GroupSet>& sets, const Keep& keep) {
  for (const GroupSet& set : sets) {
    if (set.label == keep.label && set.layer == keep.layer) return set;
  }
  PRUNUS_FAIL(InvalidArgument, "the model has no group set ",
              GroupSet{keep.label, keep.layer, 0}.name());
}

// Frequencies that the kept pairs had before any cut.
std::vector<int64_t> original_pairs(const LayerShape& shape, const std::vector<int64_t>& kept) {
  if (shape.rope_pairs.empty()) return kept;
  std::vector<int64_t> pairs;
  for (const int64_t pair : kept) pairs.push_back(shape.rope_pairs[static_cast<size_t>(pair)]);
  return pairs;
}

// The slopes of a model with ALiBi follow their heads. Such models have a key head per query head.
void keep_alibi_heads(const ModelConfig& config, LayerShape& shape,
                      const std::vector<int64_t>& kept) {
  if (config.family->positions != Positions::Alibi) return;
  std::vector<int64_t> heads;
  for (const int64_t head : kept) {
    heads.push_back(shape.alibi_heads.empty() ? head
                                              : shape.alibi_heads[static_cast<size_t>(head)]);
  }
  shape.alibi_heads = std::move(heads);
}

void resize(ModelConfig& config, const GroupSet& set, const std::vector<int64_t>& kept) {
  const auto units = static_cast<int64_t>(kept.size());
  switch (set.label) {
    case AxisLabel::Hidden:
      config.hidden_size = units;
      return;
    case AxisLabel::Vocab:
      config.vocab_size = units;
      return;
    case AxisLabel::Ffn:
      config.layers[static_cast<size_t>(set.layer)].intermediate_size = units / set.shares;
      return;
    case AxisLabel::Expert: {
      config.layers[static_cast<size_t>(set.layer)].experts = units;
      // A layer with fewer takes all it has; the others still choose as many as before.
      int64_t largest = 0;
      for (const LayerShape& layer : config.layers) largest = std::max(largest, layer.experts);
      config.experts_per_token = std::min(config.experts_per_token, largest);
      return;
    }
    case AxisLabel::SharedFfn:
      config.layers[static_cast<size_t>(set.layer)].shared_intermediate_size = units;
      return;
    case AxisLabel::QueryHead:
      config.layers[static_cast<size_t>(set.layer)].num_attention_heads = units;
      return;
    case AxisLabel::KvGroup: {
      LayerShape& shape = config.layers[static_cast<size_t>(set.layer)];
      keep_alibi_heads(config, shape, kept);
      shape.num_attention_heads = shape.num_attention_heads / shape.num_key_value_heads * units;
      shape.num_key_value_heads = units;
      return;
    }
    case AxisLabel::RopePair: {
      LayerShape& shape = config.layers[static_cast<size_t>(set.layer)];
      shape.rope_pairs = original_pairs(shape, kept);
      return;
    }
    case AxisLabel::ValueDim:  // check_head_dim() sets the one size that all layers share
      return;
    case AxisLabel::Layer:
    case AxisLabel::AttentionPart:
    case AxisLabel::FeedForwardPart:
      break;
  }
  PRUNUS_FAIL(Unsupported, set.name(), ": units of this axis cannot be removed");
}

// Slice indices along the member's dimension that belong to kept units.
at::Tensor slices_of(const GroupSet& set, const GroupMember& member,
                     const std::vector<int64_t>& kept) {
  at::Tensor keep = at::zeros({set.units}, at::kBool);
  keep.index_fill_(0, at::tensor(kept, at::kLong), true);
  return keep.view({set.shares, 1, set.units_per_share(), 1})
      .expand({set.shares, member.outer, set.units_per_share(), member.inner})
      .flatten()
      .nonzero()
      .flatten();
}

bool is_head_dim(AxisLabel label) {
  return label == AxisLabel::RopePair || label == AxisLabel::ValueDim;
}

// head_dim is one number of the configuration: every layer must keep as many channels of each head,
// two per pair.
void check_head_dim(ModelConfig& config, const std::vector<GroupSet>& sets,
                    const std::vector<Keep>& keeps) {
  std::map<std::pair<int, AxisLabel>, int64_t> channels;
  for (const GroupSet& set : sets) {
    if (is_head_dim(set.label)) channels[{set.layer, set.label}] = config.head_dim;
  }
  for (const Keep& keep : keeps) {
    if (!is_head_dim(keep.label)) continue;
    const GroupSet& set = find_set(sets, keep);
    for (const GroupMember& member : set.members) {
      const bool norm =
          member.tensor.spec->role == Role::QNorm || member.tensor.spec->role == Role::KNorm;
      PRUNUS_CHECK(!norm, Unsupported, set.name(), ": this model normalises over head_dim ('",
                   member.tensor.name, "'); cutting it would change what is kept");
    }
    channels[{keep.layer, keep.label}] = static_cast<int64_t>(keep.units.size()) / set.shares *
                                         (keep.label == AxisLabel::RopePair ? 2 : 1);
  }
  const int64_t kept = channels.begin()->second;
  for (const auto& [key, count] : channels) {
    PRUNUS_CHECK(count == kept, InvalidArgument, "head_dim would be ", kept, " and, by ",
                 GroupSet{key.second, key.first, 0}.name(), ", ", count,
                 "; expected the same in every layer, queries, keys and values alike");
  }
  if (config.rope_head_dim == 0) config.rope_head_dim = config.head_dim;
  config.head_dim = kept;
}

// Whole layers and sub-layers: what stays of them, by label.
class LayerKeeps {
 public:
  explicit LayerKeeps(int64_t layers) : layers_(layers) {}

  void add(const Keep& keep) {
    const std::string name =
        keep.label == AxisLabel::Layer ? "layers" : std::string(axis_name(keep.label));
    PRUNUS_CHECK(keep.layer == -1, InvalidArgument, "a keep of ", name,
                 " belongs to the whole model");
    check_units(name, keep.units, layers_);
    PRUNUS_CHECK(kept_.emplace(keep.label, keep.units).second, InvalidArgument, name,
                 " are dropped by two keeps; put them into one");
  }

  // Ascending numbers of the layers that are kept.
  std::vector<int64_t> layers() const {
    const auto found = kept_.find(AxisLabel::Layer);
    if (found != kept_.end()) return found->second;
    std::vector<int64_t> all(static_cast<size_t>(layers_));
    std::iota(all.begin(), all.end(), int64_t{0});
    return all;
  }

  void drop_sub_layers(ModelConfig& config) const {
    for (const auto& [label, kept] : kept_) {
      const auto part = sub_layer_of(label);
      for (int64_t layer = 0; part && layer < layers_; ++layer) {
        const bool stays = std::binary_search(kept.begin(), kept.end(), layer);
        if (!stays) config.layers[static_cast<size_t>(layer)].drop(*part);
      }
    }
  }

 private:
  int64_t layers_;
  std::map<AxisLabel, std::vector<int64_t>> kept_;
};

void check_something_left(const ModelConfig& config) {
  for (const auto& [part, name] : {std::pair{SubLayer::Attention, "attention"},
                                   std::pair{SubLayer::FeedForward, "a feed-forward part"}}) {
    const bool found = std::any_of(config.layers.begin(), config.layers.end(),
                                   [&](const LayerShape& layer) { return layer.has(part); });
    PRUNUS_CHECK(found, InvalidArgument, "no layer that is left would have ", name,
                 "; keep it in one at least");
  }
}

// Leaves out the layers that are not kept: the tensors of layer i of the result are those of
// kept[i].
std::map<std::string, TensorInfo> drop_layers(ModelConfig& config,
                                              const std::vector<TensorInfo>& tensors,
                                              const std::vector<int64_t>& kept) {
  std::map<std::string, TensorInfo> originals;
  std::vector<LayerShape> layers;
  for (const int64_t layer : kept) layers.push_back(config.layers[static_cast<size_t>(layer)]);
  config.layers = std::move(layers);
  std::map<std::pair<int, Role>, const TensorInfo*> places;
  for (const TensorInfo& tensor : tensors) places[{tensor.layer, tensor.spec->role}] = &tensor;
  for (const TensorInfo& tensor : tensors_of(config)) {
    const int from =
        tensor.layer < 0 ? -1 : static_cast<int>(kept[static_cast<size_t>(tensor.layer)]);
    originals[tensor.name] = *places.at({from, tensor.spec->role});
  }
  return originals;
}

}  // namespace

Keep without_sub_layer(const Model& model, SubLayer part, const std::vector<int64_t>& layers) {
  const auto label =
      part == SubLayer::Attention ? AxisLabel::AttentionPart : AxisLabel::FeedForwardPart;
  std::vector<int64_t> kept(static_cast<size_t>(model.layer_count()));
  std::iota(kept.begin(), kept.end(), int64_t{0});
  for (const int64_t layer : layers) {
    PRUNUS_CHECK(layer >= 0 && layer < model.layer_count(), InvalidArgument, axis_name(label),
                 ": the model has no layer ", layer, ", expected 0 to ", model.layer_count() - 1);
    std::erase(kept, layer);
  }
  return {label, -1, std::move(kept)};
}

Model shrink(const Model& model, const std::vector<Keep>& keeps) {
  const std::vector<GroupSet> sets = find_groups(model);
  ModelConfig config = model.config();
  std::map<std::string, Cuts> cuts;  // by the original's tensor names
  LayerKeeps layers(model.layer_count());
  bool head_dim = false;
  for (const Keep& keep : keeps) {
    if (numbers_layers(keep.label)) {
      layers.add(keep);
      continue;
    }
    const GroupSet& set = find_set(sets, keep);
    check_units(set.name(), keep.units, set.units);
    check_shares(set, keep.units);
    if (static_cast<int64_t>(keep.units.size()) == set.units) continue;
    resize(config, set, keep.units);
    head_dim = head_dim || is_head_dim(keep.label);
    for (const GroupMember& member : set.members) {
      at::Tensor& slices = cuts[member.tensor.name][static_cast<size_t>(member.dim)];
      PRUNUS_CHECK(!slices.defined(), InvalidArgument, set.name(), ": dimension ", member.dim,
                   " of '", member.tensor.name,
                   "' is cut by another keep already; apply them one after the other");
      slices = slices_of(set, member, keep.units);
    }
  }
  if (head_dim) check_head_dim(config, sets, keeps);
  layers.drop_sub_layers(config);
  auto originals = drop_layers(config, model.tensors(), layers.layers());
  check_something_left(config);
  Model left(std::move(config), std::make_shared<ShrunkSource>(
                                    model.shared_source(), std::move(originals), std::move(cuts)));
  left.set_precision(model.precision());
  return left;
}

}  // namespace prunus
