#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "prunus/model/axis.h"

namespace prunus {

/// The place of a tensor in the decoder's arithmetic.
enum class Role {
  EmbedTokens,
  FinalNorm,
  LmHead,  // once per model
  AttnNorm,
  QProj,
  KProj,
  VProj,
  OProj,
  QBias,
  KBias,
  VBias,
  OBias,
  QNorm,
  KNorm,  // attention
  MlpNorm,
  GateProj,
  UpProj,
  DownProj,
  GateBias,
  UpBias,
  DownBias,  // feed-forward
  EmbedPositions,
  EmbedNorm,
  EmbedNormBias,
  FinalNormBias,  // once per model, where the family has them
  AttnNormBias,
  MlpNormBias,
  PostAttnNorm,  // over what the attention part adds
  PostMlpNorm,   // over what the feed-forward part adds
  Router,
  SharedGateProj,
  SharedUpProj,
  SharedDownProj,
  SharedRouter,  // mixture of experts
};
inline constexpr int kRoleCount = static_cast<int>(Role::SharedRouter) + 1;

/// The role of the bias that the decoder adds to a projection's product: QBias of QProj, …; null of
/// a role that is no projection, or one that has no bias anywhere (experts' routers, the head).
std::optional<Role> bias_of(Role projection);
/// The reverse: QProj of QBias; null of a role that is not the bias of a projection.
std::optional<Role> projection_of(Role bias);

/// A half of a decoder layer with the norms that belong to it. A layer may lack either.
enum class SubLayer { Attention, FeedForward };
/// The sub-layer that a tensor of this role is in; null outside the layers.
std::optional<SubLayer> sub_layer_of(Role role);

/// When a tensor of the table is in a model, as far as its layer has the sub-layer. A bias of a
/// projection is in it where besides that ModelConfig::biases has its role.
enum class When {
  Always,
  Untied,
  QkNorm,
  LastNorm,     ///< where a norm follows the last layer
  Dense,        ///< layers without experts
  Experts,      ///< layers with experts
  SharedExpert  ///< layers with a shared expert
};

/// One row of a family's table: the tensor's name in the file, its role and the labels of its one
/// or two axes, outermost first. "{}" stands for the layer number; "{e}" for that of an expert: the
/// tensor is then those of all experts, joined along the axis that counts experts. Rows with the
/// same name are parts of one tensor in the file, in the table's order (a fused q, k, v).
struct TensorSpec {
  std::string_view name;
  Role role;
  std::array<Axis, 2> axes;
  int rank;
  When when = When::Always;
  /// Parts of one tensor follow each other within every unit of this factor (None: once).
  Factor interleave = Factor::None;
  bool transposed = false;  ///< the file holds [in, out]
};

namespace specs {
constexpr TensorSpec matrix(std::string_view name, Role role, Axis rows, Axis columns,
                            When when = When::Always) {
  return {name, role, {rows, columns}, 2, when};
}
constexpr TensorSpec vector(std::string_view name, Role role, Axis axis, When when = When::Always) {
  return {name, role, {axis, axis}, 1, when};
}
/// The same tensor, its parts interleaved by `factor`.
constexpr TensorSpec interleaved(Factor factor, TensorSpec spec) {
  spec.interleave = factor;
  return spec;
}
constexpr TensorSpec transposed(TensorSpec spec) {
  spec.transposed = true;
  return spec;
}
}  // namespace specs

/// The row of a bias that the table of the projection's family lacks, since no stock class of the
/// family has it: "a.weight" has "a.bias", cut as its rows are. Lives as long as the program.
const TensorSpec& added_bias(const TensorSpec& projection);

/// A yes/no property: fixed for the family, or read from a config key.
struct Switch {
  bool value = false;  ///< used when `key` is empty or absent from the config
  std::string_view key = {};
};

/// Which layers attend to a sliding window only.
enum class WindowRule {
  None,   ///< full attention always
  All,    ///< `sliding_window` where it is not null, in every layer
  Gated,  ///< only if `use_sliding_window`; layers ≥ `max_window_layers`, or as `layer_types` says
  Pattern  ///< layers but every `default_window_pattern`-th, or as `layer_types` says
};

/// x / rms(x) · w (arXiv:1910.07467), the same with gain 1 + w, or (x − mean)/std · w + b
/// (arXiv:1607.06450).
enum class NormKind { Rms, RmsPlusOne, Layer };

/// How the order of tokens enters: rotated queries and keys (arXiv:2104.09864), a bias on the
/// scores that grows with the distance (ALiBi, arXiv:2108.12409), or an embedding of the position.
enum class Positions { Rope, Alibi, Learned };

enum class Activation { Silu, Gelu, GeluTanh, Relu };

/// What the sizes are called in this family's config.json. Empty: the family has no such key.
struct ConfigKeys {
  std::string_view vocab_size = "vocab_size";
  std::string_view hidden_size = "hidden_size";
  std::string_view layers = "num_hidden_layers";
  std::string_view heads = "num_attention_heads";
  std::string_view kv_heads = "num_key_value_heads";
  std::string_view head_dim = "head_dim";
  std::string_view ffn = "intermediate_size";
  std::string_view positions = "max_position_embeddings";
  std::string_view eps = "rms_norm_eps";
  std::string_view activation = "hidden_act";
  std::string_view rope_theta = "rope_theta";
  std::string_view partial_rotary = "partial_rotary_factor";
  std::string_view experts = {};
  std::string_view expert_ffn = {};
};

/// A config key that must have one value where it is present: with another the mathematics is not
/// what Prunus computes. `value` as JSON text: "false", "1.0", "\"relu\"".
struct FixedKey {
  std::string_view key;
  std::string_view value;
};

/// A model family is data: tensor names with labelled axes, and the options that change the maths.
/// One object per file of model/families/. Values are those a config without the key stands for in
/// the family's own published configuration class.
struct Family {
  std::string_view model_type;    ///< config.json `model_type`
  std::string_view architecture;  ///< config.json `architectures[0]`
  std::span<const TensorSpec> (*tensors)();
  std::string_view description = {};  ///< the published models it covers, for docs/families.md
  /// Other spellings of `architectures[0]` of the same mathematics.
  std::span<const std::string_view> other_architectures = {};
  /// Where several families share a model_type: a config is this one's only where it has, and has
  /// not, these keys.
  std::string_view only_with_key = {};
  std::string_view only_without_key = {};
  ConfigKeys keys = {};
  std::span<const FixedKey> fixed_keys = {};
  /// Keys that do not touch the forward pass in evaluation, besides those every family has.
  std::span<const std::string_view> inert_keys = {};
  /// Buffers that exports of this family store and every loader recomputes, by the end of the name.
  std::span<const std::string_view> derived_buffers = {};
  /// A key that must equal hidden_size where it is present: the width of the embedding's rows.
  std::string_view embedding_width_key = {};

  Switch qkv_bias = {};  ///< of q, k and v
  Switch out_bias = {};  ///< of o
  Switch mlp_bias = {};  ///< of gate, up and down
  Switch tied = {.value = false, .key = "tie_word_embeddings"};
  Switch qk_norm =
      {};  ///< a norm over q and k before RoPE: over head_dim, or as `qk_norm_rows` says
  bool qk_norm_rows =
      false;  ///< the norm runs over the whole row of q and of k, all heads together

  NormKind norm = NormKind::Rms;
  bool embedding_norm = false;
  Switch final_norm = {.value = true};
  /// The norms stand in front of their part (true), or behind the sum with the residual (false).
  Switch pre_norm = {.value = true};
  /// Attention and feed-forward part read the same residual stream, and both are added to it.
  Switch parallel_residual = {};
  bool gated = true;  ///< down(act(gate)·up); else down(act(up))
  Activation default_activation = Activation::Silu;
  bool gelu_means_tanh = false;  ///< the stock class takes "gelu" for "gelu_pytorch_tanh"

  Positions positions = Positions::Rope;
  int64_t position_offset = 0;  ///< row of the first position in a table of learned ones
  bool partial_rotary = false;  ///< the config may give a share of channels that are rotated
  double default_partial_rotary = 1.0;  ///< share of a head's channels that are rotated
  /// The length before stretching where no key beside the rotary parameters gives it; what they
  /// say themselves does not count then. 0: what they say, else max_position_embeddings.
  int64_t default_original_positions = 0;
  bool interleaved_rope = false;  ///< rotated pairs are (2i, 2i + 1), not (i, i + d/2)
  /// Windowed layers have the rotary base of this key, and no scaling.
  std::string_view rope_ratio_key = {};  ///< multiplies the rotary base
  std::string_view local_rope_theta_key = {};
  double default_local_rope_theta = 10000.0;

  WindowRule window = WindowRule::None;
  std::optional<int64_t> default_sliding_window = std::nullopt;
  int64_t default_window_pattern = 2;
  bool embedding_scale = false;  ///< embeddings are multiplied by √hidden_size
  bool normalised_head = false;  ///< rows of the output projection are divided by their length
  std::string_view score_divisor_key = {};  ///< scores are divided by the root of this value
  double default_score_divisor = 0;
  std::string_view attention_softcap_key = {};  ///< scores s become c·tanh(s/c)
  double default_attention_softcap = 0;
  std::string_view logit_softcap_key = {};  ///< logits likewise
  double default_logit_softcap = 0;

  int64_t default_kv_heads = 0;      ///< 0: as many as query heads
  int64_t default_head_dim = 0;      ///< 0: hidden_size / num_attention_heads
  int64_t default_ffn_multiple = 0;  ///< intermediate size in hidden_size where no key gives it
  int64_t default_max_position_embeddings = 2048;
  double default_rms_norm_eps = 1e-6;
  double default_rope_theta = 10000.0;

  bool mixture = false;  ///< feed-forward parts are mixtures of experts
  int64_t default_experts_per_token = 2;
  Switch renormalised_router = {};  ///< the chosen experts' probabilities are divided by their sum
  std::string_view shared_ffn_key = {};  ///< intermediate size of the shared expert

  /// Stock loaders of this family refuse a hidden_size that the query heads do not divide; such a
  /// model is written as this family instead, whose mathematics and tensor names are the same
  /// (possible only without biases). Empty: no such rule.
  std::string_view write_indivisible_as = {};
};

namespace families {
/// Every family, by file name. Source: the files of model/families/.
std::span<const Family* const> all();
}  // namespace families

/// A family of this `model_type`, or null.
const Family* find_family(std::string_view model_type);
/// Every family of this `model_type`.
std::vector<const Family*> find_families(std::string_view model_type);

/// Tensor table shared by the decoders that follow Llama's layout and names.
std::span<const TensorSpec> llama_tensors();

}  // namespace prunus
