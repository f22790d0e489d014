#include <ATen/ATen.h>

#include "prunus/solve/sparse_system.h"

namespace prunus::sparse_solvers {
namespace {

// Up to so many inputs rows are solved one by one, exactly.
constexpr int64_t kExact = 128;
constexpr int64_t kSteps = 60;

std::vector<SparseSolved> solve(const SparseProblem& problem) {
  const ScaledSystem system(problem);
  std::vector<SparseSolved> solved;
  for (const SparseMatrix& matrix : problem.matrices) {
    const at::Tensor dense = system.scaled(matrix);
    const at::Tensor target = system.target(matrix, dense);
    const at::Tensor kept = matrix.kept.to(dense.device());
    const at::Tensor fitted = dense.size(1) <= kExact
                                  ? refit_rows(system.moments, target, kept)
                                  : refit_kept(system.moments, target, dense, kept, kSteps);
    solved.push_back({fitted / system.scale, kept.to(at::kCPU)});
  }
  return solved;
}

}  // namespace

// The ridge keeps it solvable and near the dense weights.
extern const SparseSolver least_squares{
    .name = "least-squares",
    .source = "normal equations of what each row keeps, as ALPS (arXiv:2406.07831) refits",
    .summary = "with --structure weight: weights that stay are fitted anew, row by row",
    .chooses = false,
    .options = {.ridge = 0.01},
    .solve = solve};

}  // namespace prunus::sparse_solvers
