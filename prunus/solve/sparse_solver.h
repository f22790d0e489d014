#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/solve/pattern.h"

namespace prunus {

struct SparseOptions {
  /// Added to every input's second moment: this share of their mean, ≥ 0. SparseGPT's.
  double damping = 0;
  /// λ ≥ 0: weights are held to the dense ones as if λ times the second moment of each input were
  /// added to it. What generalises beyond the calibration's text (docs/methods.md).
  double ridge = 0;
  /// What matrices are to give is what the dense ones give on the dense model's inputs; else on
  /// those of the model pruned so far.
  bool dense_target = false;
  /// β in [0, 1]: of the difference of the two models' streams in front of a part, how much its
  /// output matrix is to make up for.
  double residual_correction = 0;
  /// Tokens of o_proj and down_proj count by 1 / mean square of the dense stream behind the part.
  bool token_weights = false;

  /// The dense model must run beside the pruned one.
  bool two_streams() const { return dense_target || residual_correction > 0 || token_weights; }
  bool operator==(const SparseOptions&) const = default;
};

/// One of the matrices that read an input. All tensors are FP32 on one device.
struct SparseMatrix {
  at::Tensor weight = {};  ///< [out, in], dense
  /// [out, in]: Σ ω·t·xᵀ of what it should give; undefined: weight · gram.
  at::Tensor cross = {};
  at::Tensor kept = {};  ///< bool [out, in], true = stays; undefined: the solver chooses
  int64_t zeros = 0;     ///< how many it is to choose, where the pattern leaves that free
};

/// An input x with the matrices that read it.
struct SparseProblem {
  at::Tensor gram;  ///< [in, in]: Σ ω·x·xᵀ, not 0
  Pattern pattern = {};
  std::vector<SparseMatrix> matrices = {};
  SparseOptions options = {};
};

struct SparseSolved {
  at::Tensor weight;  ///< FP32 [out, in], zero where not kept
  at::Tensor kept;    ///< bool [out, in], on the CPU
};

/// How weights that stay make up for those that are zero, in any matrix; and which are zero. One
/// object per file of solve/sparse_solvers/. What depends on the input alone is computed once for
/// all matrices of a problem.
struct SparseSolver {
  std::string_view name;  ///< as on the command line
  std::string_view source;
  std::string_view summary;    ///< one line for --help
  bool chooses = true;         ///< can choose what stays; else every matrix must say
  bool takes_cross = true;     ///< can fit another target than the dense weights on the same input
  SparseOptions options = {};  ///< unless a method or the user says otherwise
  /// Results in the order of the matrices. Throws Numeric where the equations cannot be solved.
  std::vector<SparseSolved> (*solve)(const SparseProblem& problem) = nullptr;
};

namespace sparse_solvers {
/// Every solver, by file name.
std::span<const SparseSolver* const> all();
}  // namespace sparse_solvers

/// The solver of that name. Throws InvalidArgument listing the known ones.
const SparseSolver& find_sparse_solver(std::string_view name);

/// Σ ω·‖(W − Z)·x‖² / Σ ω·‖W·x‖² by the second moments of x; 0 where nothing comes out of W.
/// All FP32.
double relative_loss(const at::Tensor& gram, const at::Tensor& weight, const at::Tensor& solved);

}  // namespace prunus
