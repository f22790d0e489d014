#include <algorithm>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/gguf_config_parts.h"
#include "prunus/model/layout.h"
#include "prunus/model/model.h"

namespace prunus {
namespace {

constexpr int64_t kMostLayers = 512;  // of llama.cpp

using Reasons = std::vector<std::string>;

bool nearly(double a, double b) { return std::abs(a - b) <= 1e-6 * std::abs(b); }

// Weights that the architecture has no tensor for.
void note_weights(const ModelConfig& config, const GgufArchitecture& architecture,
                  Reasons& reasons) {
  std::set<std::string> missing;
  for (const TensorInfo& tensor : tensors_of(config)) {
    if (gguf_name(architecture, tensor.spec->role) == nullptr) {
      missing.insert(role_name(tensor.spec->role));
    }
  }
  for (const std::string& role : missing) reasons.push_back("no tensor for " + role);
  if (!architecture.limits.untied && !config.tie_word_embeddings && missing.empty()) {
    reasons.push_back("the head must be the embedding");
  }
}

void note_sizes(const ModelConfig& config, const GgufArchitecture& architecture, Reasons& reasons) {
  const GgufLimits& limits = architecture.limits;
  if (static_cast<int64_t>(config.layers.size()) > kMostLayers) {
    reasons.push_back(c10::str("more than ", kMostLayers, " layers"));
  }
  if (!config.uniform() && !limits.sizes_by_layer) {
    reasons.emplace_back(kUnevenLayers);
  }
  // No graph skips a feed-forward part alone: llama.cpp's deci goes on with the next layer.
  if (!config.all_have(SubLayer::FeedForward)) reasons.emplace_back(kNoFeedForward);
  const bool without = !config.all_have(SubLayer::Attention);
  if (without && !limits.attention_free) reasons.emplace_back(kNoAttention);
  if (without && limits.attention_free && !config.layers[0].has(SubLayer::Attention)) {
    reasons.emplace_back("no attention in the first layer");
  }
  for (const LayerShape& layer : config.layers) {
    if (limits.square_heads && layer.has(SubLayer::Attention) &&
        layer.num_attention_heads * config.head_dim != config.hidden_size) {
      reasons.push_back(c10::str("query heads must fill hidden_size: ", layer.num_attention_heads,
                                 " · ", config.head_dim, " is not ", config.hidden_size));
      break;
    }
  }
  const bool mixed = std::any_of(
      config.layers.begin(), config.layers.end(),
      [&](const LayerShape& layer) { return (layer.experts > 0) != architecture.mixture; });
  if (mixed) {
    reasons.push_back(architecture.mixture ? "layers without experts" : "layers with experts");
  }
  if (architecture.mixture && config.renormalised_router != architecture.renormalised) {
    reasons.push_back(c10::str("experts' shares must ", architecture.renormalised ? "" : "not ",
                               "be divided by their sum"));
  }
}

void note_rope(const ModelConfig& config, const GgufArchitecture& architecture, Reasons& reasons) {
  const Rope& rope = config.rope;
  const GgufLimits& limits = architecture.limits;
  if (config.rope_head_dim != 0) reasons.push_back("channels cut from heads");
  if (rope.kind == Rope::Kind::Llama3 && !limits.one_factor_list) {
    reasons.push_back("rotary scaling of type llama3");
  }
  const bool by_length = rope.kind == Rope::Kind::Longrope && rope.short_factor != rope.long_factor;
  if (rope.kind == Rope::Kind::Longrope && !limits.two_factor_lists &&
      (by_length || !limits.one_factor_list)) {
    reasons.push_back("rotary scaling of type longrope");
  }
  const bool plain_yarn =
      rope.truncate && nearly(rope.attention_factor, 0.1 * std::log(rope.factor) + 1.0);
  if (rope.kind == Rope::Kind::Yarn && !plain_yarn) {
    reasons.push_back("yarn with an attention factor of its own");
  }
}

// Numbers that the graph does not take from the file.
void note_constants(const ModelConfig& config, const GgufArchitecture& architecture,
                    Reasons& reasons) {
  const Family& family = *config.family;
  const double scale =
      family.embedding_scale ? std::sqrt(static_cast<double>(config.hidden_size)) : 1.0;
  if (!nearly(config.embedding_scale, scale)) reasons.push_back("embeddings of another scale");
  const bool wide =
      architecture.layers_with_wide_scores == static_cast<int64_t>(config.layers.size());
  const int64_t divisor = wide ? config.hidden_size / config.most_heads() : config.head_dim;
  if (config.score_divisor != 0 && !nearly(config.score_divisor, static_cast<double>(divisor))) {
    reasons.push_back(
        c10::str("scores divided by the root of ", config.score_divisor, ", not of ", divisor));
  }
  if (config.attention_softcap == 0 && family.default_attention_softcap != 0) {
    reasons.push_back("no soft cap on the scores");
  }
  if (config.logit_softcap == 0 && family.default_logit_softcap != 0) {
    reasons.push_back("no soft cap on the logits");
  }
  const bool cut_alibi =
      std::any_of(config.layers.begin(), config.layers.end(),
                  [](const LayerShape& layer) { return !layer.alibi_heads.empty(); });
  if (cut_alibi) reasons.push_back("ALiBi slopes of the heads that are left");
  const auto tanh_or_not = [](Activation one) {
    return one == Activation::Gelu ? Activation::GeluTanh : one;
  };
  if (tanh_or_not(config.activation) != tanh_or_not(family.default_activation)) {
    reasons.push_back("another activation than the family's");
  }
  if (family.window == WindowRule::Pattern && !gguf_window_period(config)) {
    reasons.push_back("layers with a window at no regular distance");
  }
  if (family.window == WindowRule::Gated && gguf_window_period(config) != 1) {
    reasons.push_back("layers with a sliding window");
  }
}

// One number where all are equal.
void add_sizes(std::vector<GgufSetting>& settings, const std::string& key,
               const std::vector<int64_t>& sizes) {
  const bool equal =
      std::all_of(sizes.begin(), sizes.end(), [&](int64_t size) { return size == sizes[0]; });
  if (equal) {
    settings.push_back({key, sizes[0]});
  } else {
    settings.push_back({key, sizes});
  }
}

std::vector<int64_t> sizes_of(const ModelConfig& config, int64_t LayerShape::*member) {
  std::vector<int64_t> sizes;
  for (const LayerShape& layer : config.layers) sizes.push_back(layer.*member);
  return sizes;
}

void add_experts(const ModelConfig& config, const std::string& prefix,
                 std::vector<GgufSetting>& settings) {
  const Family& family = *config.family;
  const LayerShape& layer = config.layers[0];
  settings.push_back({prefix + "expert_count", layer.experts});
  settings.push_back({prefix + "expert_used_count", config.experts_per_token});
  if (family.keys.expert_ffn.empty()) return;
  settings.push_back({prefix + "expert_feed_forward_length", layer.intermediate_size});
  if (family.shared_ffn_key.empty()) return;
  settings.push_back(
      {prefix + "expert_shared_feed_forward_length", layer.shared_intermediate_size});
}

}  // namespace

std::vector<std::string> gguf_obstacles(const ModelConfig& config,
                                        const GgufArchitecture& architecture) {
  if (config.family->model_type != architecture.family) return {"another family of models"};
  Reasons reasons;
  note_weights(config, architecture, reasons);
  note_sizes(config, architecture, reasons);
  note_rope(config, architecture, reasons);
  note_constants(config, architecture, reasons);
  return reasons;
}

std::vector<std::string> gguf_remarks(const ModelConfig& config,
                                      const GgufArchitecture& architecture) {
  Reasons remarks;
  const auto windowed = std::find_if(config.layers.begin(), config.layers.end(),
                                     [](const LayerShape& layer) { return layer.sliding_window; });
  if (windowed != config.layers.end() && config.family->window == WindowRule::All) {
    remarks.push_back(c10::str("its ", architecture.name,
                               " attends to everything, not to the last ",
                               *windowed->sliding_window, " tokens"));
  }
  if (config.activation == Activation::Gelu) {
    remarks.push_back("it approximates GELU by the tangent");
  }
  if (config.rope.kind == Rope::Kind::Dynamic) {
    remarks.push_back(c10::str("it does not stretch the rotary embedding beyond ",
                               config.max_position_embeddings, " tokens"));
  }
  return remarks;
}

std::vector<GgufSetting> gguf_settings(const ModelConfig& config,
                                       const GgufArchitecture& architecture) {
  const Reasons reasons = gguf_obstacles(config, architecture);
  PRUNUS_CHECK(reasons.empty(), Unsupported, "this model cannot be a GGUF file of architecture ",
               architecture.name, ": ", reasons[0]);
  const Family& family = *config.family;
  const std::string prefix = std::string(architecture.name) + ".";
  std::vector<GgufSetting> settings;
  const auto add = [&](const char* key, decltype(GgufSetting::value) value) {
    settings.push_back({prefix + key, std::move(value)});
  };
  add("block_count", static_cast<int64_t>(config.layers.size()));
  add("context_length", config.max_position_embeddings);
  add("embedding_length", config.hidden_size);
  // Where experts have a key of their own, this one is what they are together: nobody reads it.
  const bool own_key = architecture.mixture && !family.keys.expert_ffn.empty();
  std::vector<int64_t> ffn = sizes_of(config, &LayerShape::intermediate_size);
  for (int64_t& size : ffn) size *= own_key ? config.experts_per_token : 1;
  add_sizes(settings, prefix + "feed_forward_length", ffn);
  add_sizes(settings, prefix + "attention.head_count",
            sizes_of(config, &LayerShape::num_attention_heads));
  add_sizes(settings, prefix + "attention.head_count_kv",
            sizes_of(config, &LayerShape::num_key_value_heads));
  write_gguf_rope(config, architecture, settings);
  const bool layer_norm = family.norm == NormKind::Layer;
  add(layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
      config.norm_eps);
  add("attention.key_length", config.head_dim);
  add("attention.value_length", config.head_dim);
  add("vocab_size", config.vocab_size);
  if (!family.parallel_residual.key.empty()) add("use_parallel_residual", config.parallel_residual);
  write_gguf_windows(config, architecture, settings);
  if (config.attention_softcap != 0) add("attn_logit_softcapping", config.attention_softcap);
  if (config.logit_softcap != 0) add("final_logit_softcapping", config.logit_softcap);
  if (architecture.mixture) add_experts(config, prefix, settings);
  return settings;
}

}  // namespace prunus
