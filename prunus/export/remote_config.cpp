#include "prunus/export/remote_config.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/model/config_spellings.h"
#include "prunus/model/layout.h"

namespace prunus {
namespace {

// Modules that modeling_prunus.py has.
constexpr std::pair<Role, std::string_view> kModules[] = {
    {Role::EmbedTokens, "model.embed_tokens"},
    {Role::FinalNorm, "model.norm"},
    {Role::LmHead, "lm_head"},
    {Role::QProj, "model.layers.{}.self_attn.q_proj"},
    {Role::KProj, "model.layers.{}.self_attn.k_proj"},
    {Role::VProj, "model.layers.{}.self_attn.v_proj"},
    {Role::OProj, "model.layers.{}.self_attn.o_proj"},
    {Role::QNorm, "model.layers.{}.self_attn.q_norm"},
    {Role::KNorm, "model.layers.{}.self_attn.k_norm"},
    {Role::GateProj, "model.layers.{}.mlp.gate_proj"},
    {Role::UpProj, "model.layers.{}.mlp.up_proj"},
    {Role::DownProj, "model.layers.{}.mlp.down_proj"},
};
constexpr std::string_view kFusedQkv = "model.layers.{}.self_attn.qkv_proj";
constexpr std::string_view kFusedGateUp = "model.layers.{}.mlp.gate_up_proj";

// Norms of a layer by their place; their names are the family's.
constexpr std::pair<Role, const char*> kNorms[] = {
    {Role::AttnNorm, "before_attention"},
    {Role::PostAttnNorm, "after_attention"},
    {Role::MlpNorm, "before_mlp"},
    {Role::PostMlpNorm, "after_mlp"},
};
constexpr std::string_view kLayerPrefix = "model.layers.{}.";

std::string_view module_of(const TensorSpec& spec) {
  const auto end = spec.name.rfind('.');
  return spec.name.substr(0, end);
}

bool is_norm(Role role) {
  return std::any_of(std::begin(kNorms), std::end(kNorms),
                     [&](const auto& one) { return one.first == role; });
}

bool is_known(const TensorSpec& spec) {
  const std::string_view module = module_of(spec);
  if (spec.transposed || spec.interleave != Factor::None) return false;
  if (is_norm(spec.role)) return module.starts_with(kLayerPrefix);
  if (projection_of(spec.role)) return true;  // beside its weight
  if (module == kFusedQkv || module == kFusedGateUp) return true;
  return std::any_of(std::begin(kModules), std::end(kModules), [&](const auto& one) {
    return one.first == spec.role && one.second == module;
  });
}

std::string activation_name(Activation activation) {
  switch (activation) {
    case Activation::Silu:
      return "silu";
    case Activation::Gelu:
      return "gelu";
    case Activation::GeluTanh:
      return "gelu_pytorch_tanh";
    case Activation::Relu:
      return "relu";
  }
  return "silu";
}

Json or_null(double value) { return value == 0 ? Json() : Json(value); }

Json rope_json(const Rope& rope, double share) {
  Json json = {{"rope_theta", rope.theta}};
  if (share != 1.0) json["partial_rotary_factor"] = share;
  const auto type = [&](const char* name) { json["rope_type"] = name; };
  switch (rope.kind) {
    case Rope::Kind::Default:
      type("default");
      return json;
    case Rope::Kind::Linear:
      type("linear");
      json["factor"] = rope.factor;
      return json;
    case Rope::Kind::Dynamic:
      type("dynamic");
      json["factor"] = rope.factor;
      return json;
    case Rope::Kind::Llama3:
      type("llama3");
      json.update({{"factor", rope.factor},
                   {"low_freq_factor", rope.low_freq_factor},
                   {"high_freq_factor", rope.high_freq_factor}});
      break;
    case Rope::Kind::Yarn:
      type("yarn");
      json.update({{"factor", rope.factor},
                   {"beta_fast", rope.beta_fast},
                   {"beta_slow", rope.beta_slow},
                   {"truncate", rope.truncate},
                   {"attention_factor", rope.attention_factor}});
      break;
    case Rope::Kind::Longrope:
      type("longrope");
      json.update({{"factor", rope.factor},
                   {"short_factor", rope.short_factor},
                   {"long_factor", rope.long_factor},
                   {"attention_factor", rope.attention_factor}});
      break;
  }
  json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  return json;
}

double rotated_share(const ModelConfig& config) {
  return config.rotary_dim == 0
             ? 1.0
             : static_cast<double>(config.rotary_dim) / static_cast<double>(config.head_dim);
}

// In place of every older spelling.
void write_rope(Json& json, const ModelConfig& config) {
  const Family& family = *config.family;
  for (const std::string_view key :
       {std::string_view("rope_scaling"), std::string_view("partial_rotary_factor"),
        family.keys.rope_theta, family.local_rope_theta_key}) {
    if (!key.empty()) json.erase(std::string(key));
  }
  const double share = rotated_share(config);
  const Json whole = rope_json(config.rope, share);
  json["rope_parameters"] = whole;
  if (family.local_rope_theta_key.empty()) return;
  json["rope_parameters"] = {{"full_attention", whole},
                             {"sliding_attention", rope_json(config.local_rope, share)}};
}

void write_layer_sizes(Json& json, const ModelConfig& config) {
  LayerShape largest;
  for (const LayerShape& layer : config.layers) {
    largest.num_attention_heads = std::max(largest.num_attention_heads, layer.num_attention_heads);
    largest.num_key_value_heads = std::max(largest.num_key_value_heads, layer.num_key_value_heads);
    largest.intermediate_size = std::max(largest.intermediate_size, layer.intermediate_size);
  }
  constexpr std::pair<const char*, int64_t LayerShape::*> kSizes[] = {
      {"num_attention_heads", &LayerShape::num_attention_heads},
      {"num_key_value_heads", &LayerShape::num_key_value_heads},
      {"intermediate_size", &LayerShape::intermediate_size}};
  Json layers = Json::object();
  for (const auto& [key, member] : kSizes) {
    json[key] = largest.*member;
    json.erase(c10::str("layer_", key));
    for (size_t i = 0; i < config.layers.size(); ++i) {
      if (config.layers[i].*member != largest.*member) {
        layers[std::to_string(i)][key] = config.layers[i].*member;
      }
    }
  }
  json.erase("per_layer_config");
  if (!layers.empty()) json["per_layer_config"] = layers;
}

void write_windows(Json& json, const ModelConfig& config) {
  Json types = Json::array();
  std::optional<int64_t> window;
  for (const LayerShape& layer : config.layers) {
    types.push_back(layer.sliding_window ? "sliding_attention" : "full_attention");
    if (layer.sliding_window) window = layer.sliding_window;
  }
  json["layer_types"] = types;
  json["sliding_window"] = window ? Json(*window) : Json();
}

// Names of the family's projections that share a tensor.
Json fused_json(const Family& family) {
  Json names = Json::array();
  for (const std::string_view module : {kFusedQkv, kFusedGateUp}) {
    for (const TensorSpec& spec : family.tensors()) {
      if (module_of(spec) != module) continue;
      names.push_back(module.substr(module.rfind('.') + 1));
      break;
    }
  }
  return names;
}

}  // namespace

std::vector<std::string> remote_obstacles(const ModelConfig& config) {
  const Family& family = *config.family;
  std::vector<std::string> found;
  const auto check = [&](bool fine, const char* what) {
    if (!fine) found.push_back(c10::str("modeling_prunus.py has no ", what));
  };
  check(!family.mixture, "experts");
  check(family.positions == Positions::Rope, "positions but rotary ones");
  check(family.norm != NormKind::Layer, "LayerNorm");
  check(family.gated, "feed-forward part without a gate");
  check(!config.parallel_residual, "parallel residual");
  check(!family.interleaved_rope, "rotary pairs of neighbours");
  check(!family.normalised_head && !family.embedding_norm, "normalised head or embedding");
  check(config.final_norm, "model without a last norm");
  if (!found.empty()) return found;
  for (const TensorSpec& spec : family.tensors()) {
    if (is_known(spec)) continue;
    found.push_back(c10::str("modeling_prunus.py has no module for '", spec.name, "'"));
    break;
  }
  return found;
}

Json decoder_json(const ModelConfig& config) {
  const Family& family = *config.family;
  Json norms = Json::object();
  for (const auto& [role, place] : kNorms) norms[place] = nullptr;
  for (const TensorSpec& spec : family.tensors()) {
    for (const auto& [role, place] : kNorms) {
      if (spec.role == role) norms[place] = module_of(spec).substr(kLayerPrefix.size());
    }
  }
  Json biases = Json::array();
  for (const Role bias : config.biases) biases.push_back(role_name(*projection_of(bias)));
  const int64_t dim = config.rope_head_dim != 0 ? config.rope_head_dim : config.head_dim;
  const double divisor =
      config.score_divisor != 0 ? config.score_divisor : static_cast<double>(dim);
  const char* rows = family.qk_norm_rows ? "row" : "head";
  return {{"family", family.model_type},
          {"norm", family.norm == NormKind::RmsPlusOne ? "rms_plus_one" : "rms"},
          {"norms", norms},
          {"qk_norm", config.qk_norm ? Json(rows) : Json()},
          {"biases", biases},
          {"fused", fused_json(family)},
          {"activation", activation_name(config.activation)},
          {"attention_scale", 1.0 / std::sqrt(divisor)},
          {"attention_softcap", or_null(config.attention_softcap)},
          {"logit_softcap", or_null(config.logit_softcap)},
          {"embedding_scale", config.embedding_scale},
          {"rope_head_dim", dim}};
}

Json remote_config(const Json& source, const ModelConfig& config) {
  Json json = rewrite_config(source, config);
  json["architectures"] = {"PrunusForCausalLM"};
  json["model_type"] = kRemoteType;
  json["auto_map"] = {{"AutoConfig", "configuration_prunus.PrunusConfig"},
                      {"AutoModel", "modeling_prunus.PrunusModel"},
                      {"AutoModelForCausalLM", "modeling_prunus.PrunusForCausalLM"}};
  json["head_dim"] = config.head_dim;
  json["rms_norm_eps"] = config.norm_eps;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["max_position_embeddings"] = config.max_position_embeddings;
  write_rope(json, config);
  write_layer_sizes(json, config);
  write_windows(json, config);
  json[std::string(kRemoteType)] = decoder_json(config);
  return json;
}

void write_remote_files(const std::string& dir) {
  for (const RemoteFile& file : remote_files()) {
    write_file(c10::str(dir, "/", file.name), std::string(file.text));
  }
}

}  // namespace prunus
