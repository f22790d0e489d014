#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/config_spellings.h"
#include "prunus/model/quantization.h"
#include "prunus/model/stock_fields.h"
#include "prunus/model/text_part.h"

namespace prunus {
namespace {

using LayerTest = bool (*)(const LayerShape&);

bool any_layer(const LayerShape&) { return true; }
bool is_dense(const LayerShape& layer) {
  return layer.experts == 0 && layer.has(SubLayer::FeedForward);
}
bool is_mixture(const LayerShape& layer) { return layer.experts > 0; }

struct SizeKey {
  std::string_view scalar;  // empty: none in this family
  const char* list;
  int64_t LayerShape::*member;
  LayerTest applies = any_layer;
};

std::vector<SizeKey> size_keys(const Family& family) {
  const ConfigKeys& keys = family.keys;
  std::vector<SizeKey> sizes = {
      {keys.heads, "layer_num_attention_heads", &LayerShape::num_attention_heads},
      {keys.kv_heads, "layer_num_key_value_heads", &LayerShape::num_key_value_heads},
      {keys.ffn, "layer_intermediate_size", &LayerShape::intermediate_size,
       family.mixture && !keys.expert_ffn.empty() ? is_dense : any_layer},
  };
  if (!family.mixture) return sizes;
  sizes.push_back({keys.experts, "layer_num_experts", &LayerShape::experts, is_mixture});
  if (!keys.expert_ffn.empty()) {
    sizes.push_back(
        {keys.expert_ffn, "layer_intermediate_size", &LayerShape::intermediate_size, is_mixture});
  }
  if (!family.shared_ffn_key.empty()) {
    sizes.push_back({family.shared_ffn_key, "layer_shared_intermediate_size",
                     &LayerShape::shared_intermediate_size, is_mixture});
  }
  return sizes;
}

// Under every alternative name that is there, else under the first.
void write_value(Json& json, std::string_view alternatives, int64_t value) {
  bool written = false;
  for (const std::string& key : alternatives_of(alternatives)) {
    if (json.contains(key)) json[key] = value;
    written = written || json.contains(key);
  }
  if (!written) json[config_key(json, alternatives)] = value;
}

void write_size(Json& json, const ModelConfig& config, const SizeKey& key) {
  std::vector<int64_t> sizes;
  int64_t largest = 0;
  for (const LayerShape& layer : config.layers) {
    sizes.push_back(layer.*key.member);
    if (key.applies(layer)) largest = std::max(largest, layer.*key.member);
  }
  if (!key.scalar.empty() && largest > 0) write_value(json, key.scalar, largest);
  json.erase(key.list);
  if (!config.uniform()) json[key.list] = sizes;
}

// Whether a family's rule of every n-th layer, where it has one, gives these windows.
bool by_pattern(const Json& json, const ModelConfig& config) {
  const bool off = json.contains("sliding_window") && json["sliding_window"].is_null();
  if (config.family->window != WindowRule::Pattern || off) return true;
  const Json* stock = stock_fields(config.family->model_type);
  const bool read = stock == nullptr || stock->contains("sliding_window_pattern");
  const Json given = read ? json.value("sliding_window_pattern", Json()) : Json();
  const int64_t pattern =
      given.is_number_integer() ? given.get<int64_t>() : config.family->default_window_pattern;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const bool slides = (static_cast<int64_t>(i) + 1) % pattern != 0;
    if (slides != config.layers[i].sliding_window.has_value()) return false;
  }
  return true;
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
  if (listed || !by_pattern(json, config)) json["layer_types"] = types;
  const bool gated = config.family->window == WindowRule::Gated &&
                     json.value("use_sliding_window", false) && !listed;
  if (gated) json["max_window_layers"] = first;
}

void write_kept_lists(Json& json, const ModelConfig& config) {
  Json pairs = Json::array();
  Json heads = Json::array();
  for (const LayerShape& layer : config.layers) {
    pairs.push_back(layer.rope_pairs);
    std::vector<int64_t> all(static_cast<size_t>(layer.num_attention_heads));
    std::iota(all.begin(), all.end(), int64_t{0});
    heads.push_back(layer.alibi_heads.empty() ? all : layer.alibi_heads);
  }
  if (config.rope_head_dim != 0) {
    json["rope_head_dim"] = config.rope_head_dim;
    json["layer_rope_pairs"] = pairs;
  }
  const bool cut = std::any_of(config.layers.begin(), config.layers.end(),
                               [](const LayerShape& layer) { return !layer.alibi_heads.empty(); });
  if (cut) {
    json["alibi_heads"] = config.alibi_heads;
    json["layer_alibi_heads"] = heads;
  }
}

// What the family's own keys cannot say about a layer. A sub-layer that is not there a stock loader
// would make up of random numbers.
void note_layer(const ModelConfig& config, const LayerShape& layer, std::set<std::string>& found) {
  const Family& family = *config.family;
  const ConfigKeys& keys = family.keys;
  const bool attention = layer.has(SubLayer::Attention);
  const bool feed_forward = layer.has(SubLayer::FeedForward);
  if (!attention) found.emplace(kNoAttention);
  if (!feed_forward) found.emplace(kNoFeedForward);
  if (keys.head_dim.empty() && attention &&
      layer.num_attention_heads * config.head_dim != config.hidden_size) {
    found.insert("heads that do not fill hidden_size, in a family without a key for their width");
  }
  if (keys.ffn.empty() && feed_forward &&
      layer.intermediate_size != family.default_ffn_multiple * config.hidden_size) {
    found.insert("a feed-forward width that the family has no key for");
  }
  if (!layer.alibi_heads.empty()) found.insert("ALiBi slopes of the heads that are left");
}

// What the family's own keys cannot say; empty: they say all there is to say.
std::set<std::string> beyond_stock_keys(const ModelConfig& config) {
  const Family& family = *config.family;
  std::set<std::string> found;
  if (config.rope_head_dim != 0) found.insert("channels cut from heads");
  const double scale =
      family.embedding_scale ? std::sqrt(static_cast<double>(config.hidden_size)) : 1.0;
  if (config.embedding_scale != scale) {
    found.insert("embeddings scaled by another factor than the root of hidden_size");
  }
  const std::string biases = biases_beyond_switches(config);
  if (!biases.empty()) found.insert("biases of " + biases);
  for (const LayerShape& layer : config.layers) note_layer(config, layer, found);
  return found;
}

bool indivisible(const ModelConfig& config) {
  return !config.family->write_indivisible_as.empty() && config.uniform() &&
         config.hidden_size % config.most_heads() != 0;
}

// A second cut may bring back what stock keys can say.
void erase_own_keys(Json& json, const Family& family) {
  const std::string type = json.value("model_type", "");
  if (!type.starts_with(kOwnTypePrefix)) return;
  json["model_type"] = type.substr(kOwnTypePrefix.size());
  for (const char* key : {"rope_head_dim", "layer_rope_pairs", "alibi_heads", "layer_alibi_heads",
                          "prunus_embedding_scale", kBiasesKey}) {
    json.erase(key);
  }
  if (family.keys.head_dim.empty()) json.erase("head_dim");
  if (family.keys.ffn.empty()) json.erase("intermediate_size");
}

// A model that no stock key describes (rotary frequencies of heads that lost channels, ALiBi slopes
// of heads that are left, ...) gets a type that only Prunus knows: a stock loader that passed over
// the extra keys would compute something else.
void write_own_keys(Json& json, const ModelConfig& config) {
  const Family& family = *config.family;
  erase_own_keys(json, family);
  if (!family.keys.head_dim.empty()) json[std::string(family.keys.head_dim)] = config.head_dim;
  write_biases(json, config);
  if (beyond_stock_keys(config).empty()) return;
  write_kept_lists(json, config);
  if (family.keys.head_dim.empty()) json["head_dim"] = config.head_dim;
  if (family.keys.ffn.empty()) {
    int64_t largest = 0;
    for (const LayerShape& layer : config.layers) {
      largest = std::max(largest, layer.intermediate_size);
    }
    json["intermediate_size"] = largest;
  }
  if (family.embedding_scale) json["prunus_embedding_scale"] = config.embedding_scale;
  json["model_type"] = c10::str(kOwnTypePrefix, family.model_type);
}

void write_experts(Json& json, const ModelConfig& config) {
  if (!config.family->mixture) return;
  // A spelling that the stock class does not read needs the other beside it.
  const std::string given = config_key(json, config.family->keys.experts);
  const Json* stock = stock_fields(config.family->model_type);
  if (stock != nullptr && !stock->contains(given)) {
    json[alternatives_of(config.family->keys.experts).front()] = json.at(given);
  }
  json["num_experts_per_tok"] = config.experts_per_token;
  const auto dense = std::count_if(config.layers.begin(), config.layers.end(), is_dense);
  // Without dense layers nothing need be said, unless the file says what made some dense.
  if (dense == 0 && json.contains("decoder_sparse_step")) json["decoder_sparse_step"] = 1;
  if (dense == 0 && !json.contains("mlp_only_layers")) return;
  Json layers = Json::array();
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (is_dense(config.layers[i])) layers.push_back(i);
  }
  json["mlp_only_layers"] = layers;
  if (dense > 0) json["decoder_sparse_step"] = 1;
}

// Tokens may have gone.
void write_vocab_size(Json& json, const ModelConfig& config) {
  const std::string_view key = config.family->keys.vocab_size;
  const auto given = json.find(config_key(json, key));
  if (given == json.end() || *given != config.vocab_size) {
    write_value(json, key, config.vocab_size);
  }
}

// A head may have been given weights of its own.
void write_tied(Json& json, const ModelConfig& config) {
  const Switch& tied = config.family->tied;
  const std::string key(tied.key);
  if (key.empty()) return;
  const bool said = json.contains(key) && !json[key].is_null();
  const bool before = said ? json[key] == true : tied.value;
  if (before != config.tie_word_embeddings) json[key] = config.tie_word_embeddings;
}

// Stock loaders of some families insist that the heads divide hidden_size.
void write_family(Json& json, const ModelConfig& config) {
  const Family& family = *config.family;
  if (config.rope_head_dim != 0 || !indivisible(config) || !config.biases.empty()) return;
  const Family* other = find_family(family.write_indivisible_as);
  PRUNUS_CHECK(other != nullptr, InvalidArgument, "no family '", family.write_indivisible_as, "'");
  json["architectures"] = {other->architecture};
  json["model_type"] = other->model_type;
  json["sliding_window"] = nullptr;
  // Where the other family's configuration class has another default, the value must be written.
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.norm_eps;
  for (const auto key : {family.qkv_bias.key, family.mlp_bias.key}) json.erase(std::string(key));
}

// What a base class saved ("LlamaModel") is written with its head, and so as the class that has
// one.
void write_architecture(Json& json, const Family& family) {
  if (!json.contains("architectures") || !json["architectures"].is_array()) return;
  Json& list = json["architectures"];
  if (list.empty() || !list[0].is_string() || list[0] == family.architecture) return;
  if (list[0].get<std::string>().ends_with("Model")) list = {family.architecture};
}

bool has_bitmasks(const Json& quantization) {
  const Json sparsity =
      quantization.is_object() ? quantization.value("sparsity_config", Json()) : Json();
  return sparsity.is_object() && sparsity.value("format", Json()) == kSparseBitmask;
}

// Weights that were quantised are read, and so written, as BF16; bitmasks in the type of their
// values.
void write_dequantized(Json& json) {
  if (!json.contains("quantization_config")) return;
  const Json& quantization = json["quantization_config"];
  const bool quantized = !quantization.is_null() && !has_bitmasks(quantization);
  json.erase("quantization_config");
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (quantized && json.contains(key)) json[key] = "bfloat16";
  }
}

}  // namespace

std::vector<std::string> stock_obstacles(const ModelConfig& config) {
  const std::set<std::string> beyond = beyond_stock_keys(config);
  std::vector<std::string> found(beyond.begin(), beyond.end());
  if (!config.uniform()) found.emplace_back(kUnevenLayers);
  if (beyond.empty() && indivisible(config) && !config.biases.empty()) {
    found.push_back(c10::str("biases in a ", config.family->model_type, " whose hidden_size ",
                             config.hidden_size, " is no multiple of its ", config.most_heads(),
                             " heads"));
  }
  return found;
}

Json rewrite_config(const Json& original, const ModelConfig& config) {
  const std::optional<TextPart> text = text_part(original, "config.json");
  Json json = in_family_spelling(text ? text->config() : original, "config.json");
  write_dequantized(json);
  const ConfigKeys& keys = config.family->keys;
  write_vocab_size(json, config);
  write_value(json, keys.hidden_size, config.hidden_size);
  write_value(json, keys.layers, static_cast<int64_t>(config.layers.size()));
  write_architecture(json, *config.family);
  const std::string width(config.family->embedding_width_key);
  if (!width.empty() && json.contains(width)) json[width] = config.hidden_size;
  for (const SizeKey& key : size_keys(*config.family)) write_size(json, config, key);
  write_windows(json, config);
  write_experts(json, config);
  write_tied(json, config);
  write_family(json, config);
  write_own_keys(json, config);
  return json;
}

}  // namespace prunus
