#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/calib/ridge.h"
#include "prunus/solve/solver.h"

namespace prunus::solvers {
namespace {

// min Σ ω·‖t − W·x‖² + Σ_j λ·G_jj·‖W_j − W0_j‖²: W·(G + Λ) = C + W0·Λ.
Solved solve(const SolveRequest& request) {
  const bool biased = request.bias.defined();
  at::Tensor prior = request.weight;
  if (biased) prior = at::cat({prior, request.bias.unsqueeze(1)}, 1);
  const RidgedFactor left =
      ridged_factor(request.gram, request.options.ridge, biased, "solver least-squares");
  if (!left.factor.defined()) return {request.weight, request.bias};  // nothing ever comes in
  const at::Tensor right = request.cross + prior * left.added;
  const at::Tensor solved =
      at::cholesky_solve(right.t().contiguous(), left.factor).t().contiguous();
  PRUNUS_CHECK(at::isfinite(solved).all().item<bool>(), Numeric,
               "solver least-squares: the weights that were found are not finite");
  if (!biased) return {solved, {}};
  const int64_t inputs = request.weight.size(1);
  return {solved.narrow(1, 0, inputs).contiguous(), solved.select(1, inputs).contiguous()};
}

}  // namespace

// The ridge holds weights to the dense model's, not to 0; it is relative to each input's own mean
// square, so that a few massive channels do not decide it.
extern const Solver least_squares{
    .name = "least-squares",
    .source = "normal equations, as FASP (arXiv:2501.09412) and GRAIL (arXiv:2602.23795) refit",
    .summary = "o_proj and down_proj are fitted anew, so that what is left gives what all gave",
    .solve = solve};

}  // namespace prunus::solvers
