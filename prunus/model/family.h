#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

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
};
inline constexpr int kRoleCount = static_cast<int>(Role::DownBias) + 1;

/// When a tensor of the table is in a model.
enum class When { Always, Untied, QkvBias, OutBias, MlpBias, QkNorm };

/// One row of a family's table: the tensor's name in the file ("{}" stands for the layer number),
/// its role and the labels of its one or two axes, outermost first.
struct TensorSpec {
  std::string_view name;
  Role role;
  std::array<Axis, 2> axes;
  int rank;
  When when = When::Always;
};

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
};

/// A model family is data: tensor names with labelled axes, and the options that change the maths.
/// One object per file of model/families/. Values are those a config without the key stands for in
/// the family's own published configuration class.
struct Family {
  std::string_view model_type;    ///< config.json `model_type`
  std::string_view architecture;  ///< config.json `architectures[0]`
  std::span<const TensorSpec> (*tensors)();
  Switch qkv_bias = {};
  Switch out_bias = {};
  Switch mlp_bias = {};
  bool qk_norm = false;  ///< RMSNorm over head_dim of q and k, before RoPE
  WindowRule window = WindowRule::None;
  std::optional<int64_t> default_sliding_window = std::nullopt;
  int64_t default_kv_heads = 0;  ///< 0: as many as query heads
  int64_t default_head_dim = 0;  ///< 0: hidden_size / num_attention_heads
  int64_t default_max_position_embeddings = 2048;
  double default_rms_norm_eps = 1e-6;
  /// Stock loaders of this family refuse a hidden_size that the query heads do not divide; such a
  /// model is written as this family instead, whose mathematics and tensor names are the same
  /// (possible only without biases). Empty: no such rule.
  std::string_view write_indivisible_as = {};
};

namespace families {
/// Every family, by file name. Source: the files of model/families/.
std::span<const Family* const> all();
}  // namespace families

/// The family of a config's `model_type`, or null.
const Family* find_family(std::string_view model_type);

/// Tensor table shared by the decoders that follow Llama's layout and names.
std::span<const TensorSpec> llama_tensors();

}  // namespace prunus
