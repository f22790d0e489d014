#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/stock_fields.h"

namespace prunus {
namespace {

// The window of each layer, in the families' own rules.
void read_windows(ConfigFields& fields, const Family& family, std::vector<LayerShape>& layers) {
  if (family.window == WindowRule::None) return;
  // An explicit null switches the window off; only an absent key takes the family's default.
  std::optional<int64_t> window;
  const bool written = fields.json().contains("sliding_window");
  if (!written) window = family.default_sliding_window;
  if (fields.has("sliding_window")) window = fields.integer("sliding_window", 1, kMaxPositions);
  fields.ignore({"sliding_window"});
  int64_t first = 0;
  int64_t pattern = 0;
  const auto types = fields.texts("layer_types", layers.size());
  if (family.window == WindowRule::Pattern) {
    const Json* stock = stock_fields(family.model_type);
    const bool read = stock == nullptr || stock->contains("sliding_window_pattern");
    pattern = family.default_window_pattern;
    if (read) pattern = fields.integer("sliding_window_pattern", 1, kMaxSize, pattern);
    // What the stock class computed the list of types from; it is read from the list alone.
    fields.ignore({"_sliding_window_pattern"});
  }
  if (family.window == WindowRule::Gated) {
    const auto count = static_cast<int64_t>(layers.size());
    if (!fields.boolean("use_sliding_window", false)) window.reset();
    first = fields.integer("max_window_layers", 0, kMaxSize, std::min<int64_t>(28, count));
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    bool slides = static_cast<int64_t>(i) >= first;
    if (pattern > 0) slides = (static_cast<int64_t>(i) + 1) % pattern != 0;
    if (types) {
      const std::string& type = (*types)[i];
      PRUNUS_CHECK(type == "full_attention" || type == "sliding_attention", Unsupported,
                   fields.where(), ": layer_types holds '", type,
                   "'; known: full_attention, sliding_attention");
      slides = type == "sliding_attention";
      PRUNUS_CHECK(!slides || window, Corrupt, fields.where(), ": layer_types[", i,
                   "] is sliding_attention but no sliding_window is in force");
    }
    if (slides) layers[i].sliding_window = window;
  }
}

// Layers with experts and those without.
void read_experts(ConfigFields& fields, const Family& family, ModelConfig& config) {
  if (!family.mixture) return;
  const ConfigKeys& keys = family.keys;
  const int64_t experts = size_at(fields, keys.experts, kMaxSize);
  config.experts_per_token =
      fields.integer("num_experts_per_tok", 1, experts,
                     std::min<int64_t>(experts, family.default_experts_per_token));
  config.renormalised_router = switch_of(fields, family.renormalised_router);
  const int64_t step = fields.integer("decoder_sparse_step", 1, kMaxSize, 1);
  std::set<int64_t> dense;
  fields.ignore({"mlp_only_layers"});
  if (fields.has("mlp_only_layers")) {
    const Json& list = fields.json().at("mlp_only_layers");
    PRUNUS_CHECK(list.is_array(), Corrupt, fields.where(), ": mlp_only_layers is ", list.dump(),
                 ", expected a list");
    for (const Json& layer : list) {
      PRUNUS_CHECK(layer.is_number_integer(), Corrupt, fields.where(), ": mlp_only_layers holds ",
                   layer.dump(), ", expected layer numbers");
      dense.insert(layer.get<int64_t>());
    }
  }
  const int64_t width = keys.expert_ffn.empty()
                            ? config.layers[0].intermediate_size
                            : fields.integer(std::string(keys.expert_ffn), 1, kMaxSize);
  const int64_t shared = family.shared_ffn_key.empty()
                             ? 0
                             : fields.integer(std::string(family.shared_ffn_key), 1, kMaxSize);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const auto layer = static_cast<int64_t>(i);
    if (dense.contains(layer) || (layer + 1) % step != 0) continue;
    config.layers[i].experts = experts;
    config.layers[i].intermediate_size = width;
    config.layers[i].shared_intermediate_size = shared;
  }
}

void check_layer(const LayerShape& layer, const std::string& where) {
  const int64_t heads = layer.num_attention_heads;
  const int64_t kv_heads = layer.num_key_value_heads;
  PRUNUS_CHECK((heads > 0) == (kv_heads > 0), Corrupt, where, " has ", heads, " query heads and ",
               kv_heads,
               " key/value heads; expected at least one of each, or 0 of both: a layer "
               "without attention");
  PRUNUS_CHECK(kv_heads == 0 || heads % kv_heads == 0, Corrupt, where, " has ", heads,
               " query heads, not a multiple of its ", kv_heads, " key/value heads");
  PRUNUS_CHECK(
      layer.intermediate_size > 0 || (layer.experts == 0 && layer.shared_intermediate_size == 0),
      Corrupt, where, " has 0 intermediate channels, but ", layer.experts,
      " experts and a shared one of ", layer.shared_intermediate_size,
      " channels; expected 0 of all: a layer without a feed-forward part");
}

void check_sub_layers(const std::vector<LayerShape>& layers, const std::string& where) {
  for (const auto& [part, name] : {std::pair{SubLayer::Attention, "attention"},
                                   std::pair{SubLayer::FeedForward, "a feed-forward part"}}) {
    const bool found = std::any_of(layers.begin(), layers.end(),
                                   [&](const LayerShape& layer) { return layer.has(part); });
    PRUNUS_CHECK(found, Corrupt, where, ": no layer has ", name, "; expected one at least");
  }
}

}  // namespace

int64_t size_at(ConfigFields& fields, std::string_view keys, int64_t high,
                std::optional<int64_t> fallback) {
  const std::string key = config_key(fields.json(), keys);
  for (const std::string& other : alternatives_of(keys)) {
    fields.ignore({other.c_str()});
    if (!fields.has(other) || !fields.has(key)) continue;
    const Json &one = fields.json().at(key), &two = fields.json().at(other);
    PRUNUS_CHECK(one == two, Corrupt, fields.where(), ": '", key, "' is ", one.dump(), " and '",
                 other, "' is ", two.dump(), "; they are two names of the same size");
  }
  if (fallback && !fields.has(key)) {
    fields.ignore({key.c_str()});
    return *fallback;
  }
  return fields.integer(key, 1, high, fallback);
}

bool switch_of(ConfigFields& fields, const Switch& rule) {
  return rule.key.empty() ? rule.value : fields.boolean(std::string(rule.key), rule.value);
}

std::vector<LayerShape> layers_of(ConfigFields& fields, const Family& family, ModelConfig& config) {
  const ConfigKeys& keys = family.keys;
  const int64_t count = size_at(fields, keys.layers, kMaxLayers);
  LayerShape same;
  same.num_attention_heads = size_at(fields, keys.heads, kMaxSize);
  const std::string kv_key =
      keys.kv_heads.empty() ? "num_key_value_heads" : std::string(keys.kv_heads);
  const int64_t kv_default = family.default_kv_heads != 0 && !fields.json().contains(kv_key)
                                 ? family.default_kv_heads
                                 : same.num_attention_heads;
  same.num_key_value_heads = fields.integer(kv_key, 1, kMaxSize, kv_default);
  const bool derived = family.default_ffn_multiple != 0;
  same.intermediate_size = size_at(
      fields, keys.ffn.empty() ? std::string_view("intermediate_size") : keys.ffn, kMaxSize,
      derived ? std::optional(family.default_ffn_multiple * config.hidden_size) : std::nullopt);
  config.layers.assign(static_cast<size_t>(count), same);
  read_experts(fields, family, config);
  std::vector<LayerShape> layers = std::move(config.layers);
  const auto spread = [&](const char* key, int64_t LayerShape::*member) {
    const auto list = fields.integers(key, layers.size(), 0, kMaxSize);
    for (size_t i = 0; list && i < layers.size(); ++i) layers[i].*member = (*list)[i];
  };
  spread("layer_num_attention_heads", &LayerShape::num_attention_heads);
  spread("layer_num_key_value_heads", &LayerShape::num_key_value_heads);
  spread("layer_intermediate_size", &LayerShape::intermediate_size);
  if (family.mixture) {
    spread("layer_num_experts", &LayerShape::experts);
    spread("layer_shared_intermediate_size", &LayerShape::shared_intermediate_size);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    check_layer(layers[i], c10::str(fields.where(), ": layer ", i));
  }
  check_sub_layers(layers, fields.where());
  read_windows(fields, family, layers);
  return layers;
}

}  // namespace prunus
