#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"
#include "prunus/model/parameter.h"

namespace prunus {

/// The highest rank that is taken: far above any width, so that more was mistyped.
inline constexpr int64_t kMaxRank = int64_t{1} << 16;

/// Low-rank adapters: y = Wx + s·B·A·dropout(x), W frozen.
/// Source: Hu et al., arXiv:2106.09685, eq. 3; rsLoRA's s: Kalajdzievski, arXiv:2312.03732.
struct LoraOptions {
  enum class Init {
    Kaiming,   ///< A uniform in ±1/√in, as PEFT and LLM-Pruner do
    Gaussian,  ///< A normal with deviation 1/r, as in the paper and in PEFT's "gaussian"
  };
  int64_t r = 8;         ///< rank, ≥ 1
  double alpha = 16;     ///< s = alpha / r
  bool rslora = false;   ///< s = alpha / √r
  double dropout = 0.0;  ///< share of A's inputs set to zero in training, [0, 1)
  Init init = Init::Kaiming;
  std::string targets = "all";  ///< weights that get an adapter, see lora_targets.h
  double scale() const;
};

/// The two factors on one weight [out, in].
struct LoraPair {
  at::Tensor a;      ///< FP32 [r, in]
  at::Tensor b;      ///< FP32 [out, r]
  double scale = 1;  ///< s
  /// DoRA (Liu et al., arXiv:2402.09353, eq. 5): FP32 lengths that the rows of W + s·B·A get,
  /// [out]; of an embedding its columns, [in]. Undefined: plain LoRA. Merging only, never trained.
  at::Tensor magnitude = {};
};

/// Adapters of a whole model by layer (−1: outside the layers) and role.
struct LoraAdapter {
  LoraOptions options;
  std::map<std::pair<int, Role>, LoraPair> pairs;
  /// What an adapter file may bring besides, by the name of the model's tensor; merging only.
  std::map<std::string, at::Tensor> replaced = {};  ///< whole tensors that were trained, any dtype
  std::map<std::string, at::Tensor> added = {};     ///< FP32, added to biases

  /// A drawn, B zero: the model is unchanged at first. One stream of numbers per pair, so that what
  /// one pair gets depends on the seed, its layer and its role alone.
  /// Throws InvalidArgument for options out of range, and as lora_targets().
  static LoraAdapter make(const Model& model, const LoraOptions& options, uint64_t seed,
                          at::Device device);

  /// Throws Unsupported naming the first thing that can be merged but not trained on: pairs outside
  /// the layers' projections, DoRA, whole tensors. `where` names the adapter.
  void check_trainable(const std::string& where) const;

  /// Every factor as a trainable leaf, layer by layer; names as in PEFT's files where the weight is
  /// a module of its own. Marks the tensors of this adapter as requiring gradients.
  std::vector<Parameter> parameters(const Model& model);
  int64_t parameter_count() const;
};

/// What a factor on this weight is called in training, part "A" or "B":
/// "base_model.model.<module>.lora_A.weight". A part of a fused weight has its role in the module's
/// name ("….qkv_proj#q_proj").
std::string lora_tensor_name(const TensorInfo& weight, char part);

/// s·B·A as FP32 [out, in] on the CPU or the adapter's device.
at::Tensor lora_update(const LoraPair& pair);

/// What merging did to the zeros of sparse weights (docs/recover.md).
struct MergeReport {
  int64_t sparse_weights = 0;  ///< weights whose zeros were kept
  int64_t kept_zeros = 0;      ///< elements kept zero
  double masked_norm = 0;      ///< √Σ(s·BA)² over elements kept zero, all sparse weights
  double update_norm = 0;      ///< √Σ(s·BA)² over all elements of these weights
};

}  // namespace prunus
