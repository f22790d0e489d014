#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/model.h"
#include "prunus/recover/optimizer.h"

namespace prunus {

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
  /// Weights that get an adapter, in every layer.
  std::vector<Role> targets = {Role::QProj,    Role::KProj,  Role::VProj,   Role::OProj,
                               Role::GateProj, Role::UpProj, Role::DownProj};
  double scale() const;
};

/// "q_proj,down_proj" or "all" → roles. Throws InvalidArgument naming the known names.
std::vector<Role> parse_lora_targets(std::string_view text);
/// "q_proj" … "down_proj": the last part of the module's name in PEFT's files.
std::string_view lora_target_name(Role role);

/// The two factors on one weight [out, in].
struct LoraPair {
  at::Tensor a;      ///< FP32 [r, in]
  at::Tensor b;      ///< FP32 [out, r]
  double scale = 1;  ///< s
};

/// Adapters of a whole model by layer and role.
struct LoraAdapter {
  LoraOptions options;
  std::map<std::pair<int, Role>, LoraPair> pairs;

  /// A drawn, B zero: the model is unchanged at first. One stream of numbers per pair, so that what
  /// one pair gets depends on the seed, its layer and its role alone.
  /// Throws InvalidArgument for options out of range or a role the model does not have.
  static LoraAdapter make(const Model& model, const LoraOptions& options, uint64_t seed,
                          at::Device device);

  /// Every factor as a trainable leaf, layer by layer; names as in PEFT's files. Marks the tensors
  /// of this adapter as requiring gradients.
  std::vector<Parameter> parameters(const Model& model);
  int64_t parameter_count() const;
};

/// "base_model.model.<module>.lora_A.weight" for part "A" or "B" of the adapter on this weight.
std::string lora_tensor_name(const TensorInfo& weight, char part);

/// What merging did to the zeros of sparse weights (docs/recover.md).
struct MergeReport {
  int64_t sparse_weights = 0;  ///< weights whose zeros were kept
  int64_t kept_zeros = 0;      ///< elements kept zero
  double masked_norm = 0;      ///< √Σ(s·BA)² over elements kept zero, all sparse weights
  double update_norm = 0;      ///< √Σ(s·BA)² over all elements of these weights
};

}  // namespace prunus
