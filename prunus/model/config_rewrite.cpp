#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config.h"

namespace prunus {
namespace {

struct SizeKey {
  const char* scalar;
  const char* list;
  int64_t LayerShape::*member;
};

constexpr SizeKey kSizes[] = {
    {"num_attention_heads", "layer_num_attention_heads", &LayerShape::num_attention_heads},
    {"num_key_value_heads", "layer_num_key_value_heads", &LayerShape::num_key_value_heads},
    {"intermediate_size", "layer_intermediate_size", &LayerShape::intermediate_size},
};

void write_size(Json& json, const ModelConfig& config, const SizeKey& key) {
  std::vector<int64_t> sizes;
  for (const LayerShape& layer : config.layers) sizes.push_back(layer.*key.member);
  json[key.scalar] = *std::max_element(sizes.begin(), sizes.end());
  json.erase(key.list);
  if (!config.uniform()) json[key.list] = sizes;
}

// What the windows of the layers that are left look like in the family's own keys.
void write_windows(Json& json, const ModelConfig& config) {
  Json types = Json::array();
  int64_t first = 0;
  for (const LayerShape& layer : config.layers) {
    types.push_back(layer.sliding_window ? "sliding_attention" : "full_attention");
    if (!layer.sliding_window && types.size() == static_cast<size_t>(first) + 1) ++first;
  }
  const bool listed = json.contains("layer_types") && json["layer_types"].is_array();
  if (listed) json["layer_types"] = types;
  const bool gated = config.family->window == WindowRule::Gated &&
                     json.value("use_sliding_window", false) && !listed;
  if (gated) json["max_window_layers"] = first;
}

// Rotary frequencies and score scale of a model whose heads lost channels: no stock key says this,
// and a stock loader that passed it over would compute something else. So the model's type is one
// that only Prunus knows.
void write_head_dim(Json& json, const ModelConfig& config) {
  json["head_dim"] = config.head_dim;
  if (config.rope_head_dim == 0) return;
  Json pairs = Json::array();
  for (const LayerShape& layer : config.layers) pairs.push_back(layer.rope_pairs);
  json["rope_head_dim"] = config.rope_head_dim;
  json["layer_rope_pairs"] = pairs;
  json["model_type"] = c10::str(kOwnTypePrefix, config.family->model_type);
}

// Stock loaders of some families insist that the heads divide hidden_size.
void write_family(Json& json, const ModelConfig& config) {
  const Family& family = *config.family;
  const bool divides = config.hidden_size % config.layers[0].num_attention_heads == 0;
  const bool biased = config.qkv_bias || config.out_bias || config.mlp_bias;
  if (config.rope_head_dim != 0 || family.write_indivisible_as.empty() || !config.uniform() ||
      divides || biased)
    return;
  const Family* other = find_family(family.write_indivisible_as);
  PRUNUS_CHECK(other != nullptr, InvalidArgument, "no family '", family.write_indivisible_as, "'");
  json["architectures"] = {other->architecture};
  json["model_type"] = other->model_type;
  json["sliding_window"] = nullptr;
  // Where the other family's configuration class has another default, the value must be written.
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  for (const auto key : {family.qkv_bias.key, family.mlp_bias.key}) json.erase(std::string(key));
}

}  // namespace

Json rewrite_config(const Json& original, const ModelConfig& config) {
  Json json = original;
  json["hidden_size"] = config.hidden_size;
  json["num_hidden_layers"] = config.layers.size();
  for (const SizeKey& key : kSizes) write_size(json, config, key);
  write_windows(json, config);
  write_family(json, config);
  write_head_dim(json, config);
  return json;
}

}  // namespace prunus
