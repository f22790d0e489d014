#include "prunus/export/shell.h"

#include <algorithm>
#include <map>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/model/weight_origin.h"

namespace prunus {
namespace {

// Weights of a smaller model at their places in tensors of zeros.
class PaddedSource : public WeightSource, public TracedSource {
 public:
  PaddedSource(const Model& small, ModelConfig large) : small_(small), large_(std::move(large)) {
    for (const TensorInfo& tensor : small_.tensors()) {
      originals_[tensor.name] = &tensor;
      alike_.emplace(tensor.spec->role, &tensor);
    }
  }
  PaddedSource(const PaddedSource&) = delete;
  PaddedSource& operator=(const PaddedSource&) = delete;

  at::Tensor read(const TensorInfo& tensor) const override {
    if (!originals_.contains(tensor.name)) return made_up(tensor);
    const TensorInfo& original = original_of(tensor);
    at::Tensor weight = small_.source().read(original);
    if (weight.sizes() == c10::IntArrayRef(tensor.shape)) return weight;
    for (int dim = 0; dim < tensor.spec->rank; ++dim) {
      std::vector<int64_t> shape = weight.sizes().vec();
      shape[static_cast<size_t>(dim)] = tensor.shape[static_cast<size_t>(dim)];
      weight = at::zeros(shape, weight.options())
                   .index_copy_(dim, places(tensor, tensor.spec->axes[static_cast<size_t>(dim)]),
                                weight);
    }
    small_.source().release(original);
    return weight;
  }
  bool has(const TensorInfo& tensor) const override {
    return !originals_.contains(tensor.name) || small_.source().has(original_of(tensor));
  }
  // What is made up has the dtype that its like has in another layer.
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    if (originals_.contains(tensor.name)) return small_.source().dtype(original_of(tensor));
    const auto alike = alike_.find(tensor.spec->role);
    return small_.source().dtype(alike != alike_.end() ? *alike->second
                                                       : small_.tensor(Role::EmbedTokens));
  }
  void prefetch(const TensorInfo& tensor) const override {
    if (originals_.contains(tensor.name)) small_.source().prefetch(original_of(tensor));
  }
  void release(const TensorInfo& tensor) const override {
    if (originals_.contains(tensor.name)) small_.source().release(original_of(tensor));
  }
  std::optional<WeightOrigin> origin(const TensorInfo& tensor) const override {
    const auto original = originals_.find(tensor.name);
    const bool same = original != originals_.end() && original->second->shape == tensor.shape;
    return same ? origin_of(small_.source(), *original->second) : std::nullopt;
  }

 private:
  const TensorInfo& original_of(const TensorInfo& tensor) const {
    return *originals_.at(tensor.name);
  }

  // Of a sub-layer that adds nothing.
  at::Tensor made_up(const TensorInfo& tensor) const {
    const at::TensorOptions options = at::TensorOptions().dtype(dtype(tensor));
    const bool gain = is_gain(tensor.spec->role) && large_.family->norm != NormKind::RmsPlusOne;
    return gain ? at::ones(tensor.shape, options) : at::zeros(tensor.shape, options);
  }
  static bool is_gain(Role role) {
    return role == Role::AttnNorm || role == Role::MlpNorm || role == Role::PostAttnNorm ||
           role == Role::PostMlpNorm || role == Role::QNorm || role == Role::KNorm;
  }

  // Where the indices of one factor go.
  std::vector<int64_t> places_of(Factor factor, int layer) const {
    if (factor == Factor::Pair && layer >= 0) {
      const LayerShape& shape = small_.config().layers[static_cast<size_t>(layer)];
      if (!shape.rope_pairs.empty()) return shape.rope_pairs;
    }
    std::vector<int64_t> all(static_cast<size_t>(factor_size(small_.config(), layer, factor)));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    return all;
  }

  // Where the slices of an axis go: its factors are the digits of a number, outermost first.
  at::Tensor places(const TensorInfo& tensor, Axis axis) const {
    std::vector<int64_t> numbers = {0};
    for (const Factor factor : axis.factors) {
      if (factor == Factor::None) continue;
      const int64_t size = factor_size(large_, tensor.layer, factor);
      std::vector<int64_t> longer;
      for (const int64_t number : numbers) {
        for (const int64_t place : places_of(factor, tensor.layer)) {
          longer.push_back(number * size + place);
        }
      }
      numbers = std::move(longer);
    }
    return at::tensor(numbers, at::kLong);
  }

  Model small_;
  ModelConfig large_;
  std::map<std::string, const TensorInfo*> originals_;  // of small_
  std::map<Role, const TensorInfo*> alike_;             // the first with this role
};

int64_t largest(const ModelConfig& config, int64_t LayerShape::*member, bool mixtures) {
  int64_t most = 0;
  for (const LayerShape& layer : config.layers) {
    if (layer.has(SubLayer::FeedForward) && (layer.experts > 0) == mixtures)
      most = std::max(most, layer.*member);
  }
  return most;
}

// KV heads of every layer: as many as the layer with most, or, where the family has no key for the
// width of heads, as many as fill hidden_size; where heads must divide that, the next number that
// does.
int64_t kv_heads_of(const ModelConfig& config, int64_t queries) {
  int64_t heads = 0;
  for (const LayerShape& layer : config.layers) {
    heads = std::max(heads, layer.num_key_value_heads);
  }
  const int64_t group = queries * config.head_dim;
  if (config.family->keys.head_dim.empty() && config.hidden_size % group == 0) {
    return std::max(heads, config.hidden_size / group);
  }
  const bool must_divide = !config.family->write_indivisible_as.empty() && !config.biases.empty();
  for (int64_t more = heads; must_divide && more <= 2 * heads; ++more) {
    if (config.hidden_size % (more * queries) == 0) return more;
  }
  return heads;
}

void widen(ModelConfig& config) {
  int64_t queries = 0;  // of one KV head
  for (const LayerShape& layer : config.layers) {
    if (!layer.has(SubLayer::Attention)) continue;
    queries = std::max(queries, layer.num_attention_heads / layer.num_key_value_heads);
  }
  const int64_t kv_heads = kv_heads_of(config, queries);
  const int64_t dense = largest(config, &LayerShape::intermediate_size, false);
  const int64_t expert = largest(config, &LayerShape::intermediate_size, true);
  const int64_t shared = largest(config, &LayerShape::shared_intermediate_size, true);
  const int64_t experts = largest(config, &LayerShape::experts, true);
  const int64_t fixed = config.family->keys.ffn.empty()
                            ? config.family->default_ffn_multiple * config.hidden_size
                            : 0;
  for (LayerShape& layer : config.layers) {
    layer.num_key_value_heads = kv_heads;
    layer.num_attention_heads = kv_heads * queries;
    // Where no layer is dense, none can become so.
    if (!layer.has(SubLayer::FeedForward) && dense == 0) layer.experts = experts;
    layer.intermediate_size = layer.experts > 0 ? expert : std::max(dense, fixed);
    if (layer.experts > 0) layer.shared_intermediate_size = shared;
  }
}

}  // namespace

Shell shell_of(const ModelConfig& config) {
  Shell shell{.config = config, .obstacles = {}};
  ModelConfig& large = shell.config;
  if (large.rope_head_dim != 0) {
    large.head_dim = large.rope_head_dim;
    large.rope_head_dim = 0;
    for (LayerShape& layer : large.layers) layer.rope_pairs.clear();
  }
  widen(large);
  bool heads = false;
  for (size_t i = 0; i < large.layers.size(); ++i) {
    const int64_t before = config.layers[i].num_attention_heads;
    heads = heads || (before > 0 && large.layers[i].num_attention_heads != before);
  }
  if (heads && config.qk_norm && config.family->qk_norm_rows) {
    shell.obstacles.emplace_back(
        "the norm of q and k runs over all heads together, so more of them "
        "would change it");
  }
  const bool whole = config.all_have(SubLayer::Attention) && config.all_have(SubLayer::FeedForward);
  if (!whole && !config.pre_norm) {
    shell.obstacles.emplace_back(
        "the norm of a sub-layer stands behind its sum with the residual stream, where zeros do "
        "not "
        "take it away");
  }
  for (const std::string& one : stock_obstacles(large)) {
    const bool sizes = one == kUnevenLayers;
    shell.obstacles.push_back(sizes ? "layers with different numbers of experts" : one);
  }
  return shell;
}

Model padded(const Model& model, const ModelConfig& config) {
  Model large(config, std::make_shared<PaddedSource>(model, config));
  large.set_precision(model.precision());
  return large;
}

}  // namespace prunus
