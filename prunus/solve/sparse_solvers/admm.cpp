#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/model/matmul.h"
#include "prunus/solve/sparse_system.h"

namespace prunus::sparse_solvers {
namespace {

constexpr int64_t kSteps = 20;
constexpr int64_t kChoosing = 15;  // of them; then the support stays
constexpr int64_t kRefit = 15;
constexpr double kPenalty = 1;  // ρ, in units where an input's size is 1

// How many are zero at a step: s·(1 − (1 − t/15)³) of them.
int64_t zeros_at(int64_t step, int64_t zeros) {
  const double left = 1 - static_cast<double>(step + 1) / static_cast<double>(kChoosing);
  return static_cast<int64_t>(static_cast<double>(zeros) * (1 - left * left * left));
}

class Admm {
 public:
  explicit Admm(const SparseProblem& problem)
      : pattern_(problem.pattern),
        system_(problem),
        // Well conditioned by ρ, and multiplied by in every step: here the inverse serves.
        inverse_(at::cholesky_inverse(factor_of(system_.moments, kPenalty, "solver admm"))) {}

  SparseSolved solve(const SparseMatrix& matrix) const {
    const at::Tensor dense = system_.scaled(matrix);
    const at::Tensor target = system_.target(matrix, dense);
    at::Tensor free = dense;
    at::Tensor dual = at::zeros_like(dense);
    at::Tensor kept = matrix.kept;
    at::Tensor mask = kept.defined() ? kept.to(dense.device(), dense.scalar_type()) : at::Tensor();
    at::Tensor sparse;
    for (int64_t step = 0; step < kSteps; ++step) {
      const at::Tensor both = free + dual;
      if (!matrix.kept.defined() && step < kChoosing) {
        kept = kept_without(pattern_, both.abs(), zeros_at(step, matrix.zeros));
        mask = kept.to(dense.device(), dense.scalar_type());
      }
      sparse = both * mask;
      dual = both - sparse;
      if (step + 1 == kSteps) break;
      free = product(at::add(target, sparse - dual, kPenalty), inverse_);
    }
    const at::Tensor fitted =
        refit_kept(system_.moments, target, sparse, kept.to(dense.device()), kRefit);
    return {fitted / system_.scale, kept.to(at::kCPU)};
  }

 private:
  const Pattern& pattern_;
  ScaledSystem system_;
  at::Tensor inverse_;
};

std::vector<SparseSolved> solve(const SparseProblem& problem) {
  const Admm admm(problem);
  std::vector<SparseSolved> solved;
  for (const SparseMatrix& matrix : problem.matrices) solved.push_back(admm.solve(matrix));
  return solved;
}

}  // namespace

// Differs: the ramp of the paper, which its program leaves out; and what stays is fitted anew at
// the end. Of N:M there is no ramp.
extern const SparseSolver admm{
    .name = "admm",
    .source = "Boža, Fast and effective weight update for pruned LLMs, arXiv:2401.02938",
    .summary = "zeros and weights in turns (ADMM), then weights that stay are fitted anew",
    .options = {.ridge = 0.1},
    .solve = solve};

}  // namespace prunus::sparse_solvers
