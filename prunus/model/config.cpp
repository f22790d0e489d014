#include "prunus/model/config.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_fields.h"

namespace prunus {
namespace {

// Far above any published model, low enough that products of two or three fit in 64 bits.
constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxPositions = int64_t{1} << 40;

const Family& family_of(ConfigFields& fields) {
  std::string type = fields.text("model_type", "");
  if (type.starts_with(kOwnTypePrefix)) type.erase(0, kOwnTypePrefix.size());
  const Family* family = find_family(type);
  std::string known;
  for (const Family* one : families::all())
    known += c10::str(known.empty() ? "" : ", ", one->model_type);
  PRUNUS_CHECK(family != nullptr, Unsupported, fields.where(), ": model_type '", type,
               "' is not supported; known: ", known);
  if (fields.has("architectures")) {
    const Json& list = fields.json().at("architectures");
    const bool matches = list.is_array() && !list.empty() && list[0] == family->architecture;
    PRUNUS_CHECK(matches, Unsupported, fields.where(), ": architectures is ", list.dump(),
                 ", expected [\"", family->architecture, "\"] for model_type '", type, "'");
  }
  fields.ignore({"architectures"});
  return *family;
}

Activation activation_of(ConfigFields& fields) {
  const std::string name = fields.text("hidden_act", "silu");
  if (name == "silu" || name == "swish") return Activation::Silu;
  if (name == "gelu") return Activation::Gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::GeluTanh;
  if (name == "relu") return Activation::Relu;
  PRUNUS_FAIL(Unsupported, fields.where(), ": hidden_act '", name,
              "' is not supported; known: silu, gelu, gelu_pytorch_tanh, relu");
}

void read_rope_kind(ConfigFields& fields, Rope& rope) {
  std::string kind = fields.text("type", "default");
  kind = fields.text("rope_type", kind);
  if (kind == "linear") {
    rope.kind = Rope::Kind::Linear;
    rope.factor = fields.positive("factor");
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
                 "' is not supported; known: default, linear, llama3");
    fields.ignore({"factor"});
  }
}

Rope rope_of(ConfigFields& fields) {
  Rope rope;
  rope.theta = fields.positive("rope_theta", rope.theta);
  // v4 spells it rope_scaling (theta beside it), v5 rope_parameters (theta inside). Where both are
  // present v5 is the newer truth and v4 must not contradict it in kind.
  auto v4 = fields.object("rope_scaling");
  auto v5 = fields.object("rope_parameters");
  if (v4) {
    read_rope_kind(*v4, rope);
    rope.theta = v4->positive("rope_theta", rope.theta);
    v4->refuse_unknown();
  }
  if (v5) {
    Rope newer;
    newer.theta = v5->positive("rope_theta", rope.theta);
    const double partial = v5->positive("partial_rotary_factor", 1.0);
    PRUNUS_CHECK(partial == 1.0, Unsupported, v5->where(), ": partial_rotary_factor = ", partial,
                 " is not supported, only 1");
    read_rope_kind(*v5, newer);
    v5->refuse_unknown();
    const bool agree = !v4 || (newer.kind == rope.kind && newer.factor == rope.factor);
    PRUNUS_CHECK(agree, Corrupt, fields.where(), ": rope_scaling and rope_parameters disagree");
    return newer;
  }
  return rope;
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
  const auto types = fields.texts("layer_types", layers.size());
  if (family.window == WindowRule::Gated) {
    const auto count = static_cast<int64_t>(layers.size());
    if (!fields.boolean("use_sliding_window", false)) window.reset();
    first = fields.integer("max_window_layers", 0, kMaxSize, std::min<int64_t>(28, count));
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    bool slides = static_cast<int64_t>(i) >= first;
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

std::vector<LayerShape> layers_of(ConfigFields& fields, const Family& family) {
  const int64_t count = fields.integer("num_hidden_layers", 1, kMaxLayers);
  LayerShape same;
  same.num_attention_heads = fields.integer("num_attention_heads", 1, kMaxSize);
  const int64_t kv_default =
      family.default_kv_heads != 0 && !fields.json().contains("num_key_value_heads")
          ? family.default_kv_heads
          : same.num_attention_heads;
  same.num_key_value_heads = fields.integer("num_key_value_heads", 1, kMaxSize, kv_default);
  same.intermediate_size = fields.integer("intermediate_size", 1, kMaxSize);
  std::vector<LayerShape> layers(static_cast<size_t>(count), same);
  const auto spread = [&](const char* key, int64_t LayerShape::*member) {
    const auto list = fields.integers(key, layers.size(), 1, kMaxSize);
    for (size_t i = 0; list && i < layers.size(); ++i) layers[i].*member = (*list)[i];
  };
  spread("layer_num_attention_heads", &LayerShape::num_attention_heads);
  spread("layer_num_key_value_heads", &LayerShape::num_key_value_heads);
  spread("layer_intermediate_size", &LayerShape::intermediate_size);
  for (size_t i = 0; i < layers.size(); ++i) {
    PRUNUS_CHECK(layers[i].num_attention_heads % layers[i].num_key_value_heads == 0, Corrupt,
                 fields.where(), ": layer ", i, " has ", layers[i].num_attention_heads,
                 " query heads, not a multiple of its ", layers[i].num_key_value_heads,
                 " key/value heads");
  }
  read_windows(fields, family, layers);
  return layers;
}

int64_t head_dim_of(ConfigFields& fields, const Family& family, const LayerShape& layer,
                    int64_t hidden_size) {
  int64_t fallback = family.default_head_dim;
  if (fallback == 0 || fields.json().contains("head_dim")) {
    fallback = hidden_size / layer.num_attention_heads;
    PRUNUS_CHECK(fields.has("head_dim") || hidden_size % layer.num_attention_heads == 0, Corrupt,
                 fields.where(), ": hidden_size ", hidden_size, " is not a multiple of ",
                 layer.num_attention_heads, " heads and head_dim is not given");
  }
  const int64_t head_dim = fields.integer("head_dim", 1, kMaxSize, fallback);
  PRUNUS_CHECK(head_dim % 2 == 0, Corrupt, fields.where(), ": head_dim ", head_dim,
               " is odd; rotary embedding turns pairs of channels");
  return head_dim;
}

// Heads that lost channels: which pairs of the original head_dim are left, layer by layer.
void read_rope_pairs(ConfigFields& fields, ModelConfig& config) {
  const bool own = fields.text("model_type", "").starts_with(kOwnTypePrefix);
  if (!own && !fields.has("layer_rope_pairs")) return;
  PRUNUS_CHECK(own, Corrupt, fields.where(),
               ": layer_rope_pairs needs a model_type that begins with ", kOwnTypePrefix,
               ", so that no other loader passes it over");
  config.rope_head_dim = fields.integer("rope_head_dim", 2, kMaxSize);
  PRUNUS_CHECK(config.rope_head_dim % 2 == 0, Corrupt, fields.where(), ": rope_head_dim ",
               config.rope_head_dim, " is odd; rotary embedding turns pairs of channels");
  fields.ignore({"layer_rope_pairs"});
  const Json lists = fields.json().value("layer_rope_pairs", Json());
  PRUNUS_CHECK(lists.is_array() && lists.size() == config.layers.size(), Corrupt, fields.where(),
               ": layer_rope_pairs must hold one list for each of ", config.layers.size(),
               " layers");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    std::vector<int64_t>& pairs = config.layers[i].rope_pairs;
    int64_t last = -1;
    PRUNUS_CHECK(lists[i].is_array(), Corrupt, fields.where(), ": layer_rope_pairs[", i, "] is ",
                 lists[i].dump(), ", expected a list");
    for (const Json& pair : lists[i]) {
      const bool fits = pair.is_number_integer() && pair.get<int64_t>() > last &&
                        pair.get<int64_t>() < config.rope_head_dim / 2;
      PRUNUS_CHECK(fits, Corrupt, fields.where(), ": layer_rope_pairs[", i, "] holds ", pair.dump(),
                   "; expected ascending integers below ", config.rope_head_dim / 2);
      last = pair.get<int64_t>();
      pairs.push_back(last);
    }
    PRUNUS_CHECK(static_cast<int64_t>(pairs.size()) == config.head_dim / 2, Corrupt, fields.where(),
                 ": layer_rope_pairs[", i, "] has ", pairs.size(), " pairs, head_dim ",
                 config.head_dim, " needs ", config.head_dim / 2);
  }
}

// Keys of the stock configuration classes that do not touch the forward pass in evaluation.
void ignore_inert(ConfigFields& fields) {
  fields.ignore({"torch_dtype",
                 "dtype",
                 "transformers_version",
                 "use_cache",
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

void check_no_quantisation(const ConfigFields& fields) {
  PRUNUS_CHECK(!fields.has("quantization_config"), Unsupported, fields.where(),
               ": field 'quantization_config': the weights are quantised; Prunus reads F32, F16 "
               "and BF16 checkpoints");
}

}  // namespace

bool ModelConfig::uniform() const {
  return std::all_of(layers.begin(), layers.end(), [&](const LayerShape& layer) {
    return layer.num_attention_heads == layers[0].num_attention_heads &&
           layer.num_key_value_heads == layers[0].num_key_value_heads &&
           layer.intermediate_size == layers[0].intermediate_size;
  });
}

bool ModelConfig::has(When when) const {
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
      return family->qk_norm;
  }
  return false;
}

ModelConfig parse_config(const Json& json, const std::string& where) {
  ConfigFields fields(json, where);
  ModelConfig config;
  config.family = &family_of(fields);
  const Family& family = *config.family;
  check_no_quantisation(fields);
  config.vocab_size = fields.integer("vocab_size", 1, int64_t{1} << 31);
  config.hidden_size = fields.integer("hidden_size", 1, kMaxSize);
  config.max_position_embeddings = fields.integer("max_position_embeddings", 1, kMaxPositions,
                                                  family.default_max_position_embeddings);
  config.rms_norm_eps = fields.positive("rms_norm_eps", family.default_rms_norm_eps);
  config.qkv_bias = switch_of(fields, family.qkv_bias);
  config.out_bias = switch_of(fields, family.out_bias);
  config.mlp_bias = switch_of(fields, family.mlp_bias);
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", false);
  config.activation = activation_of(fields);
  config.rope = rope_of(fields);
  config.layers = layers_of(fields, family);
  config.head_dim = head_dim_of(fields, family, config.layers[0], config.hidden_size);
  read_rope_pairs(fields, config);
  PRUNUS_CHECK(fields.positive("partial_rotary_factor", 1.0) == 1.0, Unsupported, where,
               ": field 'partial_rotary_factor' other than 1 is not supported");
  ignore_inert(fields);
  fields.refuse_unknown();
  return config;
}

}  // namespace prunus
