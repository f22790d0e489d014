#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/parameter.h"

namespace prunus {

struct OptimizerOptions {
  enum class Kind { AdamW, Muon };
  Kind kind = Kind::AdamW;
  double beta1 = 0.9;           ///< decay of the mean gradient, [0, 1)
  double beta2 = 0.999;         ///< decay of the mean squared gradient, [0, 1)
  double eps = 1e-8;            ///< > 0
  double weight_decay = 0.0;    ///< decoupled: w ← w − lr·weight_decay·w; ≥ 0
  double muon_momentum = 0.95;  ///< [0, 1)
};

/// "adamw", "muon". Throws InvalidArgument naming the option and the known names.
OptimizerOptions::Kind parse_optimizer(std::string_view name);
std::string_view optimizer_name(OptimizerOptions::Kind kind);

/// AdamW (Loshchilov & Hutter, arXiv:1711.05101, algorithm 2, with bias correction), or Muon for
/// the hidden matrices and AdamW for everything else. The arithmetic of AdamW is libtorch's fused
/// kernel, one call for all tensors. Deterministic.
/// Muon: Nesterov momentum M, orthogonalised by five quintic Newton–Schulz steps, then
/// w ← w − lr·(0.2·√max(rows, columns)·orthogonal(M) + weight_decay·w): the factor gives updates
/// the size of AdamW's, so that both share one learning rate. Each expert is a matrix of its own.
/// Source: K. Jordan, "Muon", 2024; scaling: Liu et al., arXiv:2502.16982, eq. 4.
class Optimizer {
 public:
  /// Keeps the parameters' tensors (shared). Memory: state_bytes().
  /// Throws InvalidArgument for options out of range, a value that is no FP32 leaf, equal names.
  Optimizer(std::vector<Parameter> parameters, OptimizerOptions options);

  /// Euclidean norm of all gradients as one vector (accumulated in FP64); where it is larger than
  /// `max_norm` > 0, every gradient is scaled by max_norm / norm. max_norm 0: only measured.
  /// The norm may be infinite or NaN: then nothing is scaled. Missing gradients count as zero.
  double clip(double max_norm);
  /// One update of every parameter that has a gradient, with this learning rate.
  void step(double lr);
  /// Forgets all gradients.
  void zero_grad();

  /// Everything a resumed run needs besides the parameters' values, in a fixed order; and back.
  /// state() shares its tensors, which the next step() changes; restore() copies, and throws
  /// Corrupt where number, shape or dtype differ.
  std::vector<at::Tensor> state() const;
  void restore(const std::vector<at::Tensor>& state);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Bytes of the states of these parameters: 8 an element for AdamW, 4 for Muon's matrices.
  static int64_t state_bytes(const std::vector<Parameter>& parameters,
                             const OptimizerOptions& options);

 private:
  struct Moments {
    at::Tensor first;   // mean gradient; of Muon: momentum
    at::Tensor second;  // mean squared gradient; AdamW only
    at::Tensor steps;   // updates so far, FP32 scalar as the fused kernel wants it; AdamW only
  };

  void adamw_step(bool decay, double lr);
  void muon_step(const Parameter& parameter, Moments& moments, double lr) const;

  std::vector<Parameter> parameters_;
  OptimizerOptions options_;
  std::vector<Moments> moments_;  // as parameters_
};

}  // namespace prunus
