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

// Stock loaders of some families insist that the heads divide hidden_size.
void write_family(Json& json, const ModelConfig& config) {
  const Family& family = *config.family;
  const bool divides = config.hidden_size % config.layers[0].num_attention_heads == 0;
  const bool biased = config.qkv_bias || config.out_bias || config.mlp_bias;
  if (family.write_indivisible_as.empty() || !config.uniform() || divides || biased) return;
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
  for (const SizeKey& key : kSizes) write_size(json, config, key);
  json["head_dim"] = config.head_dim;
  write_family(json, config);
  return json;
}

}  // namespace prunus
