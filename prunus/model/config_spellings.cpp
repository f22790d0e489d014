#include "prunus/model/config_spellings.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/family.h"

namespace prunus {
namespace {

// Names of the sizes that may differ from layer to layer, and of the lists that hold them.
constexpr std::pair<const char*, const char*> kLayerSizes[] = {
    {"num_attention_heads", "layer_num_attention_heads"},
    {"num_key_value_heads", "layer_num_key_value_heads"},
    {"intermediate_size", "layer_intermediate_size"},
};

// The number of a layer in an object's key, "7" or "07".
int64_t layer_number(const std::string& key, int64_t layers, const std::string& where) {
  const bool digits =
      !key.empty() && key.size() <= 6 && key.find_first_not_of("0123456789") == std::string::npos;
  const int64_t number = digits ? std::stoll(key) : layers;
  PRUNUS_CHECK(number < layers, Corrupt, where, ": per_layer_config has '", key,
               "', expected numbers of layers below ", layers);
  return number;
}

// What per_layer_config leaves out is what the keys at the top say.
void spread_per_layer(Json& json, ConfigFields& fields) {
  const Json overrides = json.value("per_layer_config", Json());
  json.erase("per_layer_config");
  if (overrides.is_null()) return;
  const std::string& where = fields.where();
  PRUNUS_CHECK(overrides.is_object(), Corrupt, where, ": per_layer_config is ", overrides.dump(),
               ", expected an object of layers");
  const int64_t layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  for (const auto& [key, list] : kLayerSizes) {
    json[list] =
        std::vector<int64_t>(static_cast<size_t>(layers), fields.integer(key, 1, kMaxSize));
  }
  for (const auto& [name, sizes] : overrides.items()) {
    const int64_t layer = layer_number(name, layers, where);
    const std::string at = c10::str(where, ": per_layer_config '", name, "'");
    ConfigFields entry(sizes, at);
    for (const auto& [key, list] : kLayerSizes) {
      Json& size = json[list][static_cast<size_t>(layer)];
      size = entry.integer(key, 0, kMaxSize, size.get<int64_t>());
    }
    for (const std::string& key : entry.unknown()) {
      PRUNUS_FAIL(Unsupported, at, ": '", key, "' cannot differ from layer to layer in Prunus");
    }
  }
}

Json from_remote(const Json& original, const std::string& where) {
  Json json = original;
  ConfigFields fields(original, where);
  auto own = fields.object(std::string(kRemoteType));
  PRUNUS_CHECK(own, Corrupt, where, ": model_type ", kRemoteType, " needs an object '", kRemoteType,
               "' that says what the decoder computes");
  const std::string type = own->text("family", "");
  const Family* family = find_family(type);
  PRUNUS_CHECK(family != nullptr, Unsupported, where, ": '", kRemoteType, "': family '", type,
               "' is not known");
  spread_per_layer(json, fields);
  json["model_type"] = c10::str(kOwnTypePrefix, type);
  json["architectures"] = {family->architecture};
  for (const std::string_view key : {std::string_view("auto_map"), kRemoteType}) {
    json.erase(std::string(key));
  }
  return json;
}

// Width of a feed-forward part that is given as a multiple of hidden_size, as the published code of
// DeciLM has it: two thirds, rounded up to a multiple of 256.
int64_t width_of(double ffn_mult, int64_t hidden_size, const std::string& where) {
  const double exact = 2 * ffn_mult * static_cast<double>(hidden_size) / 3;
  PRUNUS_CHECK(exact >= 1 && exact < static_cast<double>(kMaxSize), Corrupt, where, ": ffn_mult ",
               ffn_mult, " is impossible");
  return (static_cast<int64_t>(exact) + 255) / 256 * 256;
}

// Whether an entry says that a layer has the part.
bool is_present(ConfigFields& part) {
  PRUNUS_CHECK(!part.boolean("replace_with_linear", false), Unsupported, part.where(),
               ": replace_with_linear is true: another matrix in the place of this part is not "
               "implemented");
  return !part.boolean("no_op", false);
}

void check_rest(const ConfigFields& part) {
  for (const std::string& key : part.unknown()) {
    if (part.json().at(key) != false) part.refuse(key, "is not implemented");
  }
}

// Key/value heads of an attention part; 0 where there is none.
int64_t kv_heads_of(ConfigFields& attention, int64_t heads) {
  if (!is_present(attention)) return 0;
  const int64_t group = attention.integer("n_heads_in_group", 1, heads);
  PRUNUS_CHECK(heads % group == 0, Corrupt, attention.where(), ": n_heads_in_group is ", group,
               ", no divisor of ", heads, " heads");
  check_rest(attention);
  return heads / group;
}

// Channels of a feed-forward part; 0 where there is none.
int64_t channels_of(ConfigFields& ffn, int64_t hidden_size, const Json& activation) {
  if (!is_present(ffn)) return 0;
  const int64_t width = ffn.has("ffn_mult")
                            ? width_of(ffn.positive("ffn_mult"), hidden_size, ffn.where())
                            : ffn.integer("intermediate_size", 1, kMaxSize);
  ffn.ignore({"intermediate_size", "hidden_act"});
  PRUNUS_CHECK(!ffn.has("hidden_act") || ffn.json().at("hidden_act") == activation, Unsupported,
               ffn.where(), ": hidden_act is ", ffn.json().at("hidden_act").dump(),
               ", that of the model ", activation.dump());
  check_rest(ffn);
  return width;
}

Json from_block_configs(const Json& original, const std::string& where) {
  Json json = original;
  ConfigFields fields(original, where);
  const int64_t layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  const int64_t heads = fields.integer("num_attention_heads", 1, kMaxSize);
  const int64_t hidden = fields.integer("hidden_size", 1, kMaxSize);
  const Json blocks = original.value("block_configs", Json());
  PRUNUS_CHECK(blocks.is_array() && static_cast<int64_t>(blocks.size()) == layers, Corrupt, where,
               ": block_configs must be a list of ", layers, " objects, one per layer");
  std::vector<int64_t> query_heads;
  std::vector<int64_t> kv_heads;
  std::vector<int64_t> widths;
  for (size_t i = 0; i < blocks.size(); ++i) {
    ConfigFields block(blocks[i], c10::str(where, ": block_configs[", i, "]"));
    auto attention = block.object("attention");
    auto ffn = block.object("ffn");
    PRUNUS_CHECK(attention && ffn, Corrupt, block.where(), ": expected 'attention' and 'ffn'");
    kv_heads.push_back(kv_heads_of(*attention, heads));
    query_heads.push_back(kv_heads.back() > 0 ? heads : 0);
    widths.push_back(channels_of(*ffn, hidden, original.value("hidden_act", Json("silu"))));
  }
  json["layer_num_attention_heads"] = query_heads;
  json["layer_num_key_value_heads"] = kv_heads;
  json["layer_intermediate_size"] = widths;
  json["num_key_value_heads"] = *std::max_element(kv_heads.begin(), kv_heads.end());
  json["intermediate_size"] = *std::max_element(widths.begin(), widths.end());
  json["model_type"] = "llama";
  json["architectures"] = {find_family("llama")->architecture};
  json.erase("block_configs");
  json.erase("auto_map");
  json.erase(std::string(kRemoteType));
  return json;
}

// Lists with an entry for each layer that say nothing to Prunus, or that it writes anew. (Lists of
// layer numbers are another matter.)
constexpr const char* kLayerLists[] = {"layer_types",      "mlp_layer_types", "layers_block_type",
                                       "attention_layers", "no_rope_layers",  "block_configs"};

}  // namespace

Json in_family_spelling(const Json& json, const std::string& where) {
  const Json type = json.is_object() ? json.value("model_type", Json()) : Json();
  if (type == kRemoteType) return from_remote(json, where);
  if (type == kBlockConfigType) return from_block_configs(json, where);
  return json;
}

Json with_layers(const Json& config, const std::vector<int64_t>& kept) {
  Json json = in_family_spelling(config, "config.json");
  int64_t layers = 0;
  for (const char* key : {"num_hidden_layers", "n_layer", "num_layers"}) {
    if (json.contains(key) && json[key].is_number_integer()) layers = json[key].get<int64_t>();
  }
  for (const char* key : kLayerLists) {
    const Json list = json.value(key, Json());
    if (!list.is_array() || static_cast<int64_t>(list.size()) != layers) continue;
    Json left = Json::array();
    for (const int64_t layer : kept) left.push_back(list.at(static_cast<size_t>(layer)));
    json[key] = left;
  }
  return json;
}

}  // namespace prunus
