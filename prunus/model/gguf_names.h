#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/family.h"

namespace prunus {

/// How a weight stands in a GGUF file, compared with the same weight of the model, [out, in].
enum class GgufForm {
  Same,
  RotaryPairs,  ///< rows of a head: pair (i, i + d/2) of the model is (2i, 2i + 1) in the file
  OnePlus,      ///< of a norm whose gain is 1 + w: the file holds 1 + w
  Stacked,      ///< the matrices of all experts: [experts, out, in]
  Row,          ///< a matrix of one row, without that size: [in]
};

/// One weight: the name of its tensor in the file ("{}" stands for the layer) and the form that it
/// has there. Rows with one name are parts of one tensor, below each other in this order.
struct GgufName {
  Role role;
  std::string_view name;
  GgufForm form = GgufForm::Same;
};

/// What llama.cpp's loader of an architecture can and cannot take, as far as it restricts a model
/// of the family.
struct GgufLimits {
  bool sizes_by_layer = false;  ///< heads and feed-forward widths may differ from layer to layer
  bool attention_free = false;  ///< layers but the first may lack attention: 0 heads
  bool square_heads = false;    ///< heads · head_dim must be hidden_size
  bool untied = true;           ///< output.weight may be there
  bool needs_output =
      false;  ///< output.weight must be there: a tied model's is the embedding again
  bool one_factor_list = false;   ///< rotation factors: the same at every length (rope_freqs)
  bool two_factor_lists = false;  ///< rotation factors: for short and for long contexts
};

/// An architecture of GGUF (`general.architecture`) and the family of models that its graph
/// computes. Data, like Family: one row of the table for each pair. Both directions use it: reading
/// a file as a model, and writing a model as a file.
struct GgufArchitecture {
  std::string_view name;    ///< general.architecture, and in front of its keys: "llama"
  std::string_view family;  ///< Family::model_type
  std::span<const GgufName> names;
  bool mixture = false;       ///< of files with experts; other rows are of files without
  bool renormalised = false;  ///< the chosen experts' probabilities are divided by their sum
  bool windows = false;  ///< of files with a sliding window, where another row is of those without
  GgufLimits limits = {};
  /// Layers of the one published model whose scores are divided by √(hidden_size / heads), not by
  /// √head_dim: llama.cpp tells by their number. 0: there is none.
  int64_t layers_with_wide_scores = 0;
};

/// Every row, in the order in which a family's architectures are preferred for writing.
/// Source: llama.cpp, conversion/ (what its converter makes of each weight) and src/models/ (what
/// its loaders ask for).
std::span<const GgufArchitecture> gguf_architectures();

/// The rows with that general.architecture: more than one where it is of several families.
std::vector<const GgufArchitecture*> gguf_architectures_named(std::string_view name);
/// The rows of a family, best first.
std::vector<const GgufArchitecture*> gguf_architectures_of(const Family& family);
/// "bloom, deci, …", for messages.
std::string known_gguf_architectures();

/// The row of a weight's role; null where the architecture has no such tensor.
const GgufName* gguf_name(const GgufArchitecture& architecture, Role role);
/// All parts of the tensor that this row names, in order.
std::vector<const GgufName*> gguf_parts(const GgufArchitecture& architecture, const GgufName& name);
/// The name in the file: "blk.3.attn_q.weight". `layer` counts where the name has "{}".
std::string gguf_tensor_name(const GgufName& name, int layer);

/// A weight as the file has it, and back. `weight`: [out, in], [n] of a bias or norm, that of
/// experts as WeightSource gives it (joined along axes[0] or [1] of `spec`); `stored`: the same as
/// `form` says. Values of OnePlus are computed in FP32; the others only change places.
/// `head_dim`: rows of a head, for RotaryPairs; `experts`: for Stacked.
at::Tensor to_gguf_form(const at::Tensor& weight, GgufForm form, const TensorSpec& spec,
                        int64_t head_dim, int64_t experts);
at::Tensor from_gguf_form(const at::Tensor& stored, GgufForm form, const TensorSpec& spec,
                          int64_t head_dim, int64_t experts);

/// Tensors of a file that are no weights: rotation factors, one per rotated pair.
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";
inline constexpr std::string_view kGgufLongFactors = "rope_factors_long.weight";
inline constexpr std::string_view kGgufShortFactors = "rope_factors_short.weight";

}  // namespace prunus
