#include "prunus/model/config.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_fields.h"

namespace prunus {
namespace {

// Far above any published model, low enough that products of two or three fit in 64 bits.
constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxPositions = int64_t{1} << 40;

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

bool has_architecture(const Family& family, const Json& name) {
  if (name == family.architecture) return true;
  return std::any_of(family.other_architectures.begin(), family.other_architectures.end(),
                     [&](std::string_view other) { return name == other; });
}

const Family& family_of(ConfigFields& fields) {
  std::string type = fields.text("model_type", "");
  if (type.starts_with(kOwnTypePrefix)) type.erase(0, kOwnTypePrefix.size());
  const std::vector<const Family*> candidates = find_families(type);
  PRUNUS_CHECK(!candidates.empty(), Unsupported, fields.where(), ": model_type '", type,
               "' is not supported; known: ", known_families(),
               ". `prunus inspect` shows the tensors of any checkpoint");
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

int64_t size_at(ConfigFields& fields, std::string_view keys, int64_t high,
                std::optional<int64_t> fallback = std::nullopt) {
  const std::string key = config_key(fields.json(), keys);
  if (fallback && !fields.has(key)) {
    fields.ignore({key.c_str()});
    return *fallback;
  }
  return fields.integer(key, 1, high, fallback);
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
  if (name == "gelu") return Activation::Gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") {
    return Activation::GeluTanh;
  }
  if (name == "relu") return Activation::Relu;
  PRUNUS_FAIL(Unsupported, fields.where(), ": ", key, " '", name,
              "' is not supported; known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
}

// What rotary scaling needs to know of the rest of the configuration.
struct RopeContext {
  int64_t positions;           ///< max_position_embeddings
  int64_t original_positions;  ///< of a key beside the scaling, or as many
};

double yarn_attention_factor(ConfigFields& fields, double factor) {
  const auto scale = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  double fallback = scale(1.0);
  if (fields.has("mscale") && fields.has("mscale_all_dim")) {
    fallback = scale(fields.positive("mscale")) / scale(fields.positive("mscale_all_dim"));
  }
  fields.ignore({"mscale", "mscale_all_dim"});
  return fields.positive("attention_factor", fallback);
}

void read_yarn(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  rope.kind = Rope::Kind::Yarn;
  rope.original_max_position_embeddings = fields.integer("original_max_position_embeddings", 1,
                                                         kMaxPositions, context.original_positions);
  rope.factor = fields.positive("factor");
  rope.beta_fast = fields.positive("beta_fast", 32.0);
  rope.beta_slow = fields.positive("beta_slow", 1.0);
  rope.truncate = fields.boolean("truncate", true);
  rope.attention_factor = yarn_attention_factor(fields, rope.factor);
}

void read_longrope(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  rope.kind = Rope::Kind::Longrope;
  rope.original_max_position_embeddings = fields.integer("original_max_position_embeddings", 1,
                                                         kMaxPositions, context.original_positions);
  rope.short_factor = fields.positives("short_factor");
  rope.long_factor = fields.positives("long_factor");
  const double stretch = static_cast<double>(context.positions) /
                         static_cast<double>(rope.original_max_position_embeddings);
  rope.factor = fields.positive("factor", stretch);
  const double scale =
      std::sqrt(1 + std::log(rope.factor) /
                        std::log(static_cast<double>(rope.original_max_position_embeddings)));
  rope.attention_factor = fields.positive("attention_factor", rope.factor <= 1 ? 1.0 : scale);
}

void read_rope_kind(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  std::string kind = fields.text("type", "default");
  kind = fields.text("rope_type", kind);
  if (kind == "linear") {
    rope.kind = Rope::Kind::Linear;
    rope.factor = fields.positive("factor");
  } else if (kind == "dynamic") {
    rope.kind = Rope::Kind::Dynamic;
    rope.factor = fields.positive("factor");
    rope.original_max_position_embeddings =
        fields.integer("original_max_position_embeddings", 1, kMaxPositions, context.positions);
  } else if (kind == "yarn" && !fields.has("short_factor")) {
    read_yarn(fields, context, rope);
  } else if (kind == "longrope" || kind == "su" || kind == "yarn") {  // its earlier names
    read_longrope(fields, context, rope);
  } else if (kind == "llama3") {
    rope.kind = Rope::Kind::Llama3;
    rope.factor = fields.positive("factor");
    rope.low_freq_factor = fields.positive("low_freq_factor");
    rope.high_freq_factor = fields.positive("high_freq_factor");
    rope.original_max_position_embeddings =
        fields.integer("original_max_position_embeddings", 1, kMaxPositions);
    PRUNUS_CHECK(rope.high_freq_factor > rope.low_freq_factor, Corrupt, fields.where(),
                 ": high_freq_factor must exceed low_freq_factor");
  } else {
    PRUNUS_CHECK(kind == "default", Unsupported, fields.where(), ": rope_type '", kind,
                 "' is not supported; known: default, linear, llama3, dynamic, yarn, longrope");
    fields.ignore({"factor"});
  }
}

// One object of rotary parameters in v5's spelling.
Rope read_v5_rope(ConfigFields& fields, const RopeContext& context, double theta,
                  double* partial = nullptr) {
  Rope rope;
  rope.theta = fields.positive("rope_theta", theta);
  const double share = fields.positive("partial_rotary_factor", partial ? *partial : 1.0);
  if (partial != nullptr) *partial = share;
  read_rope_kind(fields, context, rope);
  fields.refuse_unknown();
  return rope;
}

// Rotary embedding of the whole model and, where the family has one, of the windowed layers; and
// the share of a head's channels that are rotated.
double read_ropes(ConfigFields& fields, const Family& family, ModelConfig& config) {
  const ConfigKeys& keys = family.keys;
  double partial = family.default_partial_rotary;
  if (!keys.partial_rotary.empty()) {
    partial = fields.positive(std::string(keys.partial_rotary), partial);
  }
  const RopeContext context{config.max_position_embeddings,
                            fields.integer("original_max_position_embeddings", 1, kMaxPositions,
                                           config.max_position_embeddings)};
  Rope& rope = config.rope;
  rope.theta =
      fields.positive(config_key(fields.json(), keys.rope_theta), family.default_rope_theta);
  if (!family.rope_ratio_key.empty()) {
    rope.theta *= fields.positive(std::string(family.rope_ratio_key), 1.0);
  }
  if (!family.local_rope_theta_key.empty()) {
    config.local_rope.theta =
        fields.positive(std::string(family.local_rope_theta_key), family.default_local_rope_theta);
  }
  // v4 spells it rope_scaling (theta beside it), v5 rope_parameters (theta inside). Where both are
  // present v5 is the newer truth and v4 must not contradict it in kind.
  auto v4 = fields.object("rope_scaling");
  auto v5 = fields.object("rope_parameters");
  if (v4) {
    read_rope_kind(*v4, context, rope);
    rope.theta = v4->positive("rope_theta", rope.theta);
    v4->refuse_unknown();
  }
  if (!v5) return partial;
  if (auto full = v5->object("full_attention")) {
    rope = read_v5_rope(*full, context, rope.theta, &partial);
    if (auto local = v5->object("sliding_attention")) {
      config.local_rope = read_v5_rope(*local, context, config.local_rope.theta);
    }
    v5->refuse_unknown();
    return partial;
  }
  const Rope newer = read_v5_rope(*v5, context, rope.theta, &partial);
  const bool agree = !v4 || (newer.kind == rope.kind && newer.factor == rope.factor);
  PRUNUS_CHECK(agree, Corrupt, fields.where(), ": rope_scaling and rope_parameters disagree");
  rope = newer;
  return partial;
}

bool switch_of(ConfigFields& fields, const Switch& rule) {
  return rule.key.empty() ? rule.value : fields.boolean(std::string(rule.key), rule.value);
}

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
    pattern = fields.integer("sliding_window_pattern", 1, kMaxSize, family.default_window_pattern);
    pattern = fields.integer("_sliding_window_pattern", 1, kMaxSize, pattern);
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
  const int64_t experts = fields.integer(std::string(keys.experts), 1, kMaxSize);
  config.experts_per_token =
      fields.integer("num_experts_per_tok", 1, experts, std::min<int64_t>(experts, 2));
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

std::vector<LayerShape> layers_of(ConfigFields& fields, const Family& family, ModelConfig& config) {
  const ConfigKeys& keys = family.keys;
  const int64_t count = fields.integer(config_key(fields.json(), keys.layers), 1, kMaxLayers);
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
    const LayerShape& layer = layers[i];
    PRUNUS_CHECK(layer.num_attention_heads > 0 && layer.num_key_value_heads > 0 &&
                     layer.intermediate_size > 0,
                 Corrupt, fields.where(), ": layer ", i, " has ", layer.num_attention_heads,
                 " query heads, ", layer.num_key_value_heads, " key/value heads and ",
                 layer.intermediate_size, " intermediate channels; expected at least one of each");
    PRUNUS_CHECK(layer.num_attention_heads % layer.num_key_value_heads == 0, Corrupt,
                 fields.where(), ": layer ", i, " has ", layer.num_attention_heads,
                 " query heads, not a multiple of its ", layer.num_key_value_heads,
                 " key/value heads");
  }
  read_windows(fields, family, layers);
  return layers;
}

int64_t head_dim_of(ConfigFields& fields, const Family& family, const LayerShape& layer,
                    int64_t hidden_size) {
  const std::string key =
      family.keys.head_dim.empty() ? "head_dim" : std::string(family.keys.head_dim);
  int64_t fallback = family.default_head_dim;
  if (fallback == 0 || fields.json().contains(key)) {
    fallback = hidden_size / layer.num_attention_heads;
    PRUNUS_CHECK(fields.has(key) || hidden_size % layer.num_attention_heads == 0, Corrupt,
                 fields.where(), ": hidden_size ", hidden_size, " is not a multiple of ",
                 layer.num_attention_heads, " heads and ", key, " is not given");
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
  config.alibi_heads = config.layers[0].num_attention_heads;
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
    PRUNUS_CHECK(static_cast<int64_t>(config.layers[i].rope_pairs.size()) == config.head_dim / 2,
                 Corrupt, fields.where(), ": layer_rope_pairs[", i, "] has ",
                 config.layers[i].rope_pairs.size(), " pairs, head_dim ", config.head_dim,
                 " needs ", config.head_dim / 2);
  }
}

// Whether heads may lose rotated pairs of channels, which takes that all are rotated.
bool labels_pairs(const Family& family) {
  const auto table = family.tensors();
  return std::any_of(table.begin(), table.end(), [](const TensorSpec& spec) {
    return spec.role == Role::QProj && spec.axes[0].factors == axes::QueryHeads.factors;
  });
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

// Every spelling of the sizes: the one that counts is asked for where it is used.
void ignore_alternatives(ConfigFields& fields, const ConfigKeys& keys) {
  for (std::string_view names : {keys.vocab_size, keys.hidden_size, keys.layers, keys.heads,
                                 keys.ffn, keys.positions, keys.eps, keys.activation}) {
    while (names.find('|') != std::string_view::npos) {
      fields.ignore({std::string(names.substr(0, names.find('|'))).c_str()});
      names.remove_prefix(names.find('|') + 1);
      fields.ignore({std::string(names).c_str()});
    }
  }
}

void check_no_quantisation(const ConfigFields& fields) {
  PRUNUS_CHECK(!fields.has("quantization_config"), Unsupported, fields.where(),
               ": field 'quantization_config': the weights are quantised; Prunus reads F32, F16 "
               "and BF16 checkpoints");
}

}  // namespace

std::string config_key(const Json& json, std::string_view alternatives) {
  const std::string_view first = alternatives.substr(0, alternatives.find('|'));
  while (!alternatives.empty()) {
    const auto end = alternatives.find('|');
    const std::string key(alternatives.substr(0, end));
    if (json.contains(key) && !json.at(key).is_null()) return key;
    alternatives =
        end == std::string_view::npos ? std::string_view() : alternatives.substr(end + 1);
  }
  return std::string(first);
}

bool ModelConfig::uniform() const {
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

bool ModelConfig::has(When when, int layer) const {
  const auto shape = [&]() -> const LayerShape& { return layers.at(static_cast<size_t>(layer)); };
  switch (when) {
    case When::Always:
      return true;
    case When::Untied:
      return !tie_word_embeddings;
    case When::QkvBias:
      return qkv_bias;
    case When::OutBias:
      return out_bias;
    case When::MlpBias:
      return mlp_bias;
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

ModelConfig parse_config(const Json& json, const std::string& where) {
  ConfigFields fields(json, where);
  ModelConfig config;
  config.family = &family_of(fields);
  const Family& family = *config.family;
  check_no_quantisation(fields);
  check_fixed(fields, family);
  ignore_alternatives(fields, family.keys);
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
  config.rms_norm_eps = family.keys.eps.empty() ? family.default_rms_norm_eps
                                                : fields.positive(config_key(json, family.keys.eps),
                                                                  family.default_rms_norm_eps);
  config.qkv_bias = switch_of(fields, family.qkv_bias);
  config.out_bias = switch_of(fields, family.out_bias);
  config.mlp_bias = switch_of(fields, family.mlp_bias);
  config.qk_norm = switch_of(fields, family.qk_norm);
  config.tie_word_embeddings = switch_of(fields, family.tied);
  config.pre_norm = switch_of(fields, family.pre_norm);
  config.final_norm = switch_of(fields, family.final_norm);
  config.parallel_residual = switch_of(fields, family.parallel_residual);
  config.activation = activation_of(fields, family);
  config.layers = layers_of(fields, family, config);
  config.head_dim = head_dim_of(fields, family, config.layers[0], config.hidden_size);
  if (family.positions == Positions::Rope) {
    const double share = read_ropes(fields, family, config);
    read_rope_pairs(fields, config);
    const auto rotated = static_cast<int64_t>(static_cast<double>(config.head_dim) * share);
    const bool cuttable = labels_pairs(family);
    PRUNUS_CHECK(!cuttable || share == 1.0, Unsupported, where, ": partial_rotary_factor = ", share,
                 " is not supported for model_type '", family.model_type, "', only 1");
    PRUNUS_CHECK(rotated % 2 == 0 && rotated > 0 && rotated <= config.head_dim, Corrupt, where,
                 ": ", rotated, " of ", config.head_dim,
                 " channels of a head would be rotated; expected an even number of them");
    if (share != 1.0) config.rotary_dim = rotated;
  }
  if (family.positions == Positions::Alibi) read_alibi_heads(fields, config);
  read_scales(fields, family, config);
  ignore_inert(fields);
  fields.refuse_unknown();
  return config;
}

}  // namespace prunus
