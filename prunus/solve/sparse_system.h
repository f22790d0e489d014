#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "prunus/solve/sparse_solver.h"

namespace prunus {

/// The lower Cholesky factor of m + added·I, m symmetric [n, n]. Where that is not positive
/// definite, 1e-6 of the mean of m's diagonal is added, ten times as much again, six times at most.
/// Throws Numeric naming `what`.
at::Tensor factor_of(const at::Tensor& m, double added, const char* what);

/// A problem in units where every input has the same size: d = √diag(gram) (1 for an input that
/// is always 0), A = gram / (d·dᵀ) + λ·I. A matrix W is B = W·d there, its target
/// G = cross / d + λ·B.
struct ScaledSystem {
  explicit ScaledSystem(const SparseProblem& problem);

  at::Tensor scale;    ///< d, FP32 [in]
  at::Tensor moments;  ///< A, FP32 [in, in]
  double ridge = 0;    ///< λ

  at::Tensor scaled(const SparseMatrix& matrix) const { return matrix.weight * scale; }
  /// G of a matrix that is `dense` in these units.
  at::Tensor target(const SparseMatrix& matrix, const at::Tensor& dense) const;
};

/// min tr(Z·A·Zᵀ)/2 − tr(Z·Gᵀ) over Z that are zero where not kept, by conjugate gradients of all
/// rows at once from `start`: so many steps, or fewer where the residual of every row falls
/// below 1e-6 of its target's. moments FP32 [in, in], positive definite; target, start [out, in];
/// kept bool [out, in] on the same device. One product with A a step.
/// Source: Meng et al., ALPS, arXiv:2406.07831, section 3.3.
at::Tensor refit_kept(const at::Tensor& moments, const at::Tensor& target, const at::Tensor& start,
                      const at::Tensor& kept, int64_t steps);

/// The same exactly, each row by the Cholesky factor of what it keeps: out · kept³ / 3 operations.
at::Tensor refit_rows(const at::Tensor& moments, const at::Tensor& target, const at::Tensor& kept);

}  // namespace prunus
