#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/model/family.h"

namespace prunus {

/// Sizes that may differ from layer to layer: a pruned model is an ordinary model whose layers do.
/// No heads: the layer has no attention; no intermediate channels: no feed-forward part. What is
/// not there has no norm either, and leaves the residual stream as it is.
struct LayerShape {
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t intermediate_size = 0;
  std::optional<int64_t> sliding_window =
      std::nullopt;  ///< a query sees this many keys, itself included
  /// Which of the original rotation frequencies the head_dim/2 pairs still have; empty: all.
  std::vector<int64_t> rope_pairs = {};
  /// Which of the original query heads, counted from 0, are left: their ALiBi slopes. Empty: all.
  std::vector<int64_t> alibi_heads = {};
  int64_t experts =
      0;  ///< of the feed-forward part, each intermediate_size wide; 0: it is one alone
  int64_t shared_intermediate_size = 0;
  bool has(SubLayer part) const {
    return (part == SubLayer::Attention ? num_attention_heads : intermediate_size) > 0;
  }
  /// Takes the sub-layer out.
  void drop(SubLayer part);
  bool operator==(const LayerShape&) const = default;
};

/// Rotary position embedding and its long-context scaling.
/// Source: Su et al., arXiv:2104.09864; "linear": Chen et al., arXiv:2306.15595; "llama3": the
/// wavelength bands published with Llama 3.1; "dynamic": the base grows with the sequence
/// (NTK-aware scaling, as transformers computes it); "yarn": Peng et al., arXiv:2309.00071;
/// "longrope": Ding et al., arXiv:2402.13753, one list of factors for short sequences and one for
/// long ones.
struct Rope {
  enum class Kind { Default, Linear, Llama3, Dynamic, Yarn, Longrope };
  Kind kind = Kind::Default;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 8192;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;                   ///< yarn: the band's ends are whole pairs
  double attention_factor = 1.0;          ///< sines and cosines are multiplied by it
  std::vector<double> short_factor = {};  ///< per pair, up to the original length
  std::vector<double> long_factor = {};   ///< per pair, beyond it
  /// Whether frequencies depend on how long the sequence is.
  bool by_length() const { return kind == Kind::Dynamic || kind == Kind::Longrope; }
  bool operator==(const Rope&) const = default;
};

/// In front of `model_type` where a model cannot be described in its family's stock keys.
inline constexpr std::string_view kOwnTypePrefix = "prunus_";

/// Everything about a model that is not a weight.
struct ModelConfig {
  const Family* family = nullptr;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t head_dim = 0;
  /// head_dim of the model this one was cut from: the scale of the attention scores,
  /// 1/√rope_head_dim, and the rotation frequencies are still those. 0: head_dim was never cut.
  int64_t rope_head_dim = 0;
  int64_t max_position_embeddings = 0;
  double norm_eps = 1e-6;      ///< of every norm, whatever its kind
  std::set<Role> biases = {};  ///< of projections: QBias … DownBias, in every layer
  bool qk_norm = false;
  bool tie_word_embeddings = false;
  bool final_norm = true;
  bool pre_norm = true;
  bool parallel_residual = false;
  Activation activation = Activation::Silu;
  Rope rope;
  Rope local_rope;          ///< of windowed layers, where the family has one for them
  int64_t rotary_dim = 0;   ///< channels of a head that are rotated, the first ones; 0: all
  int64_t alibi_heads = 0;  ///< query heads of a layer before any were cut; slopes are theirs
  double embedding_scale = 1.0;
  double score_divisor = 0;      ///< scores are divided by its root; 0: by that of head_dim
  double attention_softcap = 0;  ///< 0: none
  double logit_softcap = 0;      ///< 0: none
  int64_t experts_per_token = 0;
  bool renormalised_router = false;
  std::vector<LayerShape> layers;
  /// Fields of config.json that were passed over, since the stock class does not read them either.
  std::vector<std::string> passed_over = {};

  /// True where all layers have the same head counts and width, and both sub-layers: any stock
  /// loader can read it.
  bool uniform() const;
  /// Whether every layer has this sub-layer.
  bool all_have(SubLayer part) const;
  /// Query heads of the layer that has most.
  int64_t most_heads() const;
  /// Whether a tensor of the family's table is in this layer (−1: outside the layers).
  bool has(const TensorSpec& spec, int layer) const;
  /// The rotary embedding of a layer.
  const Rope& rope_of(int layer) const;
};

/// The key among the alternatives "a|b" that `json` has, else the first.
std::string config_key(const Json& json, std::string_view alternatives);

/// The names in "a|b".
std::vector<std::string> alternatives_of(std::string_view alternatives);

/// Reads config.json (v4 and v5 spellings of the rope fields). `where` names the file in messages.
/// Of a multimodal model: its language model (model/text_part.h).
/// Fields that the family's stock class does not read are passed over with a warning, once a run.
/// Per-layer sizes: lists under layer_num_attention_heads, layer_num_key_value_heads,
/// layer_intermediate_size (docs/formats/config.md), 0 where a layer has no attention or no
/// feed-forward part.
/// Throws Corrupt: a field is missing, has the wrong type or an impossible value.
/// Throws Unsupported: a field that the stock class reads, with a value that is not implemented.
ModelConfig parse_config(const Json& json, const std::string& where);

/// Why stock software cannot open what rewrite_config() writes, each reason in words for a message;
/// empty: nothing known speaks against it. Where the family's own keys cannot say what the model
/// is, the `model_type` begins with kOwnTypePrefix; other models are refused by their shapes.
std::vector<std::string> stock_obstacles(const ModelConfig& config);

/// Reasons among those that a form which knows such layers passes over.
inline constexpr std::string_view kUnevenLayers = "layers of different sizes";
inline constexpr std::string_view kNoAttention = "layers without attention";
inline constexpr std::string_view kNoFeedForward = "layers without a feed-forward part";

/// The biases of `config` and those of `added` (roles of biases), with what must come along: where
/// the family's keys can say it, all that they switch on together (Llama's attention_bias: q, k, v
/// and o); else all parts of a fused tensor.
std::set<Role> with_added_biases(const ModelConfig& config, const std::set<Role>& added);

/// The original config.json (of a multimodal model: its language model's) with the sizes of
/// `config`. A uniform model stays a stock model: scalar
/// sizes, explicit head_dim, v4 rope fields kept as they were. Otherwise the scalars hold the
/// largest layer's sizes and the lists hold the truth.
Json rewrite_config(const Json& original, const ModelConfig& config);

}  // namespace prunus
