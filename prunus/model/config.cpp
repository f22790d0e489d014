#include "prunus/model/config.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/config_spellings.h"
#include "prunus/model/quantization.h"
#include "prunus/model/text_part.h"

namespace prunus {
namespace {

std::string known_families() {
  std::string known;
  std::string_view last;
  for (const Family* one : families::all()) {
    if (one->model_type == last) continue;
    last = one->model_type;
    known += c10::str(known.empty() ? "" : ", ", last);
  }
  return known;
}

// What a model without its head is saved as: "LlamaModel" of "LlamaForCausalLM".
std::string base_class(const Family& family) {
  for (const std::string_view ending : {"ForCausalLM", "LMHeadModel"}) {
    if (!family.architecture.ends_with(ending)) continue;
    return std::string(family.architecture.substr(0, family.architecture.size() - ending.size())) +
           "Model";
  }
  return std::string(family.architecture);
}

bool has_architecture(const Family& family, const Json& name) {
  if (name == family.architecture || name == base_class(family)) return true;
  return std::any_of(family.other_architectures.begin(), family.other_architectures.end(),
                     [&](std::string_view other) { return name == other; });
}

const Family& family_of(ConfigFields& fields) {
  std::string type = fields.text("model_type", "");
  if (type.starts_with(kOwnTypePrefix)) type.erase(0, kOwnTypePrefix.size());
  const std::vector<const Family*> candidates = find_families(type);
  PRUNUS_CHECK(!candidates.empty(), Unsupported, fields.where(), ": model_type '", type,
               "' is not supported; known: ", known_families(),
               ". `prunus inspect` shows the tensors of any checkpoint",
               fields.has("auto_map") ? ". auto_map names code that comes with the model, which "
                                        "Prunus does not run"
                                      : "");
  const bool named = fields.has("architectures");
  const Json list = named ? fields.json().at("architectures") : Json();
  fields.ignore({"architectures"});
  std::string expected;
  for (const Family* family : candidates) {
    const bool keyed =
        (family->only_with_key.empty() || fields.has(std::string(family->only_with_key))) &&
        !fields.has(std::string(family->only_without_key));
    const bool matches =
        !named || (list.is_array() && !list.empty() && has_architecture(*family, list[0]));
    if (keyed && matches) return *family;
    if (!keyed) continue;
    expected += c10::str(expected.empty() ? "" : " or ", "[\"", family->architecture, "\"]");
  }
  PRUNUS_FAIL(Unsupported, fields.where(), ": architectures is ", list.dump(), ", expected ",
              expected, " for model_type '", type, "'");
}

// Fixed keys: present with another value, the mathematics would be another.
void check_fixed(ConfigFields& fields, const Family& family) {
  for (const FixedKey& fixed : family.fixed_keys) {
    const std::string key(fixed.key);
    fields.ignore({key.c_str()});
    if (!fields.has(key)) continue;
    const Json& value = fields.json().at(key);
    PRUNUS_CHECK(value == Json::parse(fixed.value), Unsupported, fields.where(), ": ", key, " is ",
                 value.dump(), "; only ", fixed.value, " is implemented for model_type '",
                 family.model_type, "'");
  }
  for (const std::string_view key : family.inert_keys) fields.ignore({std::string(key).c_str()});
}

Activation activation_of(ConfigFields& fields, const Family& family) {
  if (family.keys.activation.empty()) return family.default_activation;
  const std::string key = config_key(fields.json(), family.keys.activation);
  if (!fields.has(key)) {
    fields.ignore({key.c_str()});
    return family.default_activation;
  }
  const std::string name = fields.text(key, "");
  if (name == "silu" || name == "swish") return Activation::Silu;
  if (name == "gelu") return family.gelu_means_tanh ? Activation::GeluTanh : Activation::Gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") {
    return Activation::GeluTanh;
  }
  if (name == "relu") return Activation::Relu;
  PRUNUS_FAIL(Unsupported, fields.where(), ": ", key, " '", name,
              "' is not supported; known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
}

int64_t head_dim_of(ConfigFields& fields, const Family& family, int64_t heads,
                    int64_t hidden_size) {
  const std::string key =
      family.keys.head_dim.empty() ? "head_dim" : std::string(family.keys.head_dim);
  int64_t fallback = family.default_head_dim;
  if (fallback == 0 || fields.json().contains(key)) {
    fallback = hidden_size / heads;
    PRUNUS_CHECK(fields.has(key) || hidden_size % heads == 0, Corrupt, fields.where(),
                 ": hidden_size ", hidden_size, " is not a multiple of ", heads, " heads and ", key,
                 " is not given");
  }
  const int64_t head_dim = fields.integer(key, 1, kMaxSize, std::max<int64_t>(1, fallback));
  PRUNUS_CHECK(head_dim % 2 == 0 || family.positions != Positions::Rope, Corrupt, fields.where(),
               ": ", key, " ", head_dim, " is odd; rotary embedding turns pairs of channels");
  return head_dim;
}

// A list of ascending numbers below `limit` per layer.
std::vector<std::vector<int64_t>> ascending_lists(ConfigFields& fields, const char* key,
                                                  size_t layers, int64_t limit) {
  fields.ignore({key});
  const Json lists = fields.json().value(key, Json());
  PRUNUS_CHECK(lists.is_array() && lists.size() == layers, Corrupt, fields.where(), ": ", key,
               " must hold one list for each of ", layers, " layers");
  std::vector<std::vector<int64_t>> result(layers);
  for (size_t i = 0; i < layers; ++i) {
    int64_t last = -1;
    PRUNUS_CHECK(lists[i].is_array(), Corrupt, fields.where(), ": ", key, "[", i, "] is ",
                 lists[i].dump(), ", expected a list");
    for (const Json& one : lists[i]) {
      const bool fits =
          one.is_number_integer() && one.get<int64_t>() > last && one.get<int64_t>() < limit;
      PRUNUS_CHECK(fits, Corrupt, fields.where(), ": ", key, "[", i, "] holds ", one.dump(),
                   "; expected ascending integers below ", limit);
      last = one.get<int64_t>();
      result[i].push_back(last);
    }
  }
  return result;
}

// Slopes follow the heads that are left.
void read_alibi_heads(ConfigFields& fields, ModelConfig& config) {
  config.alibi_heads = config.most_heads();
  if (!fields.has("layer_alibi_heads")) return;
  config.alibi_heads = fields.integer("alibi_heads", 1, kMaxSize);
  auto lists =
      ascending_lists(fields, "layer_alibi_heads", config.layers.size(), config.alibi_heads);
  for (size_t i = 0; i < lists.size(); ++i) {
    LayerShape& layer = config.layers[i];
    PRUNUS_CHECK(static_cast<int64_t>(lists[i].size()) == layer.num_attention_heads, Corrupt,
                 fields.where(), ": layer_alibi_heads[", i, "] has ", lists[i].size(),
                 " heads, the layer ", layer.num_attention_heads);
    layer.alibi_heads = std::move(lists[i]);
  }
}

// Heads that lost channels: which pairs of the original head_dim are left, layer by layer.
void read_rope_pairs(ConfigFields& fields, ModelConfig& config) {
  const bool own = fields.text("model_type", "").starts_with(kOwnTypePrefix);
  if (!own && !fields.has("layer_rope_pairs")) return;
  if (!fields.json().contains("layer_rope_pairs") && !fields.has("rope_head_dim")) return;
  PRUNUS_CHECK(own, Corrupt, fields.where(),
               ": layer_rope_pairs needs a model_type that begins with ", kOwnTypePrefix,
               ", so that no other loader passes it over");
  config.rope_head_dim = fields.integer("rope_head_dim", 2, kMaxSize);
  PRUNUS_CHECK(config.rope_head_dim % 2 == 0, Corrupt, fields.where(), ": rope_head_dim ",
               config.rope_head_dim, " is odd; rotary embedding turns pairs of channels");
  auto lists =
      ascending_lists(fields, "layer_rope_pairs", config.layers.size(), config.rope_head_dim / 2);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    config.layers[i].rope_pairs = std::move(lists[i]);
    if (!config.layers[i].has(SubLayer::Attention)) continue;
    PRUNUS_CHECK(static_cast<int64_t>(config.layers[i].rope_pairs.size()) == config.head_dim / 2,
                 Corrupt, fields.where(), ": layer_rope_pairs[", i, "] has ",
                 config.layers[i].rope_pairs.size(), " pairs, head_dim ", config.head_dim,
                 " needs ", config.head_dim / 2);
  }
}

// "longrope" has a factor for every pair.
void check_factors(const Rope& rope, int64_t pairs, const std::string& where) {
  if (rope.kind != Rope::Kind::Longrope) return;
  for (const auto* list : {&rope.short_factor, &rope.long_factor}) {
    PRUNUS_CHECK(static_cast<int64_t>(list->size()) == pairs, Corrupt, where,
                 ": short_factor and long_factor must hold ", pairs,
                 " numbers, one for each rotated pair of channels; got ", list->size());
  }
}

// The options of a family that turn on a config's numbers.
void read_scales(ConfigFields& fields, const Family& family, ModelConfig& config) {
  // An explicit null switches an option off; only an absent key takes the family's default.
  const auto number = [&](std::string_view name, double fallback) {
    const std::string key(name);
    if (key.empty()) return 0.0;
    if (fields.has(key)) return fields.positive(key);
    fields.ignore({key.c_str()});
    return fields.json().contains(key) ? 0.0 : fallback;
  };
  config.score_divisor = number(family.score_divisor_key, family.default_score_divisor);
  config.attention_softcap = number(family.attention_softcap_key, family.default_attention_softcap);
  config.logit_softcap = number(family.logit_softcap_key, family.default_logit_softcap);
  const double fallback =
      family.embedding_scale ? std::sqrt(static_cast<double>(config.hidden_size)) : 1.0;
  config.embedding_scale = fields.positive("prunus_embedding_scale", fallback);
}

// Keys of the stock configuration classes that do not touch the forward pass in evaluation.
void ignore_inert(ConfigFields& fields) {
  fields.ignore({"torch_dtype",
                 "dtype",
                 "transformers_version",
                 "use_cache",
                 "cache_implementation",
                 "bos_token_id",
                 "eos_token_id",
                 "pad_token_id",
                 "unk_token_id",
                 "initializer_range",
                 "attention_dropout",
                 "pretraining_tp",
                 "_name_or_path",
                 "_attn_implementation",
                 "attn_implementation",
                 "return_dict",
                 "output_attentions",
                 "output_hidden_states",
                 "use_return_dict",
                 "torchscript",
                 "id2label",
                 "label2id",
                 "max_window_layers",
                 "use_sliding_window",
                 "sliding_window",
                 "layer_types",
                 "task_specific_params",
                 "finetuning_task",
                 "problem_type",
                 "tokenizer_class",
                 "prefix",
                 "num_labels",
                 "chunk_size_feed_forward",
                 "model_name",
                 "unsloth_version",
                 "unsloth_fixed"});
}

}  // namespace

std::vector<std::string> alternatives_of(std::string_view alternatives) {
  std::vector<std::string> names;
  while (true) {
    const auto end = alternatives.find('|');
    names.emplace_back(alternatives.substr(0, end));
    if (end == std::string_view::npos) return names;
    alternatives.remove_prefix(end + 1);
  }
}

std::string config_key(const Json& json, std::string_view alternatives) {
  const std::vector<std::string> names = alternatives_of(alternatives);
  for (const std::string& key : names) {
    if (json.contains(key) && !json.at(key).is_null()) return key;
  }
  return names.front();
}

void LayerShape::drop(SubLayer part) {
  if (part == SubLayer::Attention) {
    num_attention_heads = 0;
    num_key_value_heads = 0;
    rope_pairs.clear();
    alibi_heads.clear();
  } else {
    intermediate_size = 0;
    experts = 0;
    shared_intermediate_size = 0;
  }
}

bool ModelConfig::all_have(SubLayer part) const {
  return std::all_of(layers.begin(), layers.end(),
                     [&](const LayerShape& layer) { return layer.has(part); });
}

int64_t ModelConfig::most_heads() const {
  int64_t most = 0;
  for (const LayerShape& layer : layers) most = std::max(most, layer.num_attention_heads);
  return most;
}

bool ModelConfig::uniform() const {
  if (!all_have(SubLayer::Attention) || !all_have(SubLayer::FeedForward)) return false;
  return std::all_of(layers.begin(), layers.end(), [&](const LayerShape& layer) {
    // Layers with experts and those without have sizes of their own.
    const auto alike = std::find_if(layers.begin(), layers.end(), [&](const LayerShape& other) {
      return (other.experts == 0) == (layer.experts == 0);
    });
    return layer.num_attention_heads == layers[0].num_attention_heads &&
           layer.num_key_value_heads == layers[0].num_key_value_heads &&
           layer.intermediate_size == alike->intermediate_size && layer.experts == alike->experts &&
           layer.shared_intermediate_size == alike->shared_intermediate_size;
  });
}

bool ModelConfig::has(const TensorSpec& spec, int layer) const {
  if (projection_of(spec.role) && !biases.contains(spec.role)) return false;
  const auto shape = [&]() -> const LayerShape& { return layers.at(static_cast<size_t>(layer)); };
  const std::optional<SubLayer> part = layer < 0 ? std::nullopt : sub_layer_of(spec.role);
  if (part && !shape().has(*part)) return false;
  switch (spec.when) {
    case When::Always:
      return true;
    case When::Untied:
      return !tie_word_embeddings;
    case When::QkNorm:
      return qk_norm;
    case When::LastNorm:
      return final_norm;
    case When::Dense:
      return shape().experts == 0;
    case When::Experts:
      return shape().experts > 0;
    case When::SharedExpert:
      return shape().shared_intermediate_size > 0;
  }
  return false;
}

const Rope& ModelConfig::rope_of(int layer) const {
  const bool local = family != nullptr && !family->local_rope_theta_key.empty() &&
                     static_cast<size_t>(layer) < layers.size() &&
                     layers[static_cast<size_t>(layer)].sliding_window;
  return local ? local_rope : rope;
}

ModelConfig parse_config(const Json& whole, const std::string& where) {
  const std::optional<TextPart> text = text_part(whole, where);
  const Json json = in_family_spelling(text ? text->config() : whole, where);
  ConfigFields fields(json, where);
  ModelConfig config;
  config.family = &family_of(fields);
  const Family& family = *config.family;
  quantization_of(json, where);  // refuses what cannot be turned back
  fields.ignore({"quantization_config"});
  check_fixed(fields, family);
  config.vocab_size = size_at(fields, family.keys.vocab_size, int64_t{1} << 31);
  config.hidden_size = size_at(fields, family.keys.hidden_size, kMaxSize);
  if (!family.embedding_width_key.empty()) {
    const std::string key(family.embedding_width_key);
    const int64_t width = fields.integer(key, 1, kMaxSize, config.hidden_size);
    PRUNUS_CHECK(width == config.hidden_size, Unsupported, where, ": ", key, " ", width,
                 " is not hidden_size ", config.hidden_size,
                 ": a projection between embedding and layers is not implemented");
  }
  config.max_position_embeddings =
      size_at(fields, family.keys.positions, kMaxPositions, family.default_max_position_embeddings);
  config.norm_eps = family.keys.eps.empty() ? family.default_rms_norm_eps
                                            : fields.positive(config_key(json, family.keys.eps),
                                                              family.default_rms_norm_eps);
  config.biases = read_biases(fields, family);
  config.qk_norm = switch_of(fields, family.qk_norm);
  config.tie_word_embeddings = switch_of(fields, family.tied);
  config.pre_norm = switch_of(fields, family.pre_norm);
  config.final_norm = switch_of(fields, family.final_norm);
  config.parallel_residual = switch_of(fields, family.parallel_residual);
  config.activation = activation_of(fields, family);
  config.layers = layers_of(fields, family, config);
  config.head_dim = head_dim_of(fields, family, config.most_heads(), config.hidden_size);
  if (family.positions == Positions::Rope) {
    const double share = read_ropes(fields, family, config);
    read_rope_pairs(fields, config);
    const auto rotated = static_cast<int64_t>(static_cast<double>(config.head_dim) * share);
    PRUNUS_CHECK(rotated % 2 == 0 && rotated > 0 && rotated <= config.head_dim, Corrupt, where,
                 ": ", rotated, " of ", config.head_dim,
                 " channels of a head would be rotated; expected an even number of them");
    if (share != 1.0) config.rotary_dim = rotated;
    check_factors(config.rope, (config.rope_head_dim != 0 ? config.rope_head_dim : rotated) / 2,
                  where);
  }
  if (family.positions == Positions::Alibi) read_alibi_heads(fields, config);
  read_scales(fields, family, config);
  ignore_inert(fields);
  judge_unknown(fields, family);
  config.passed_over = fields.passed_over();
  warn_of_passed_over(config, where);
  return config;
}

}  // namespace prunus
