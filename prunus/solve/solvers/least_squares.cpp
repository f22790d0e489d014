#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/solve/solver.h"

namespace prunus::solvers {
namespace {

// In front of every diagonal, of its mean: for inputs that are (nearly) always 0.
constexpr double kFloor = 1e-7;
constexpr int kTries = 8;

// min Σ ω·‖t − W·x‖² + Σ_j λ·G_jj·‖W_j − W0_j‖²: W·(G + Λ) = C + W0·Λ.
Solved solve(const SolveRequest& request) {
  const bool biased = request.bias.defined();
  at::Tensor prior = request.weight;
  if (biased) prior = at::cat({prior, request.bias.unsqueeze(1)}, 1);
  const at::Tensor diagonal = request.gram.diagonal();
  const double floor = kFloor * diagonal.mean().item<double>();
  PRUNUS_CHECK(std::isfinite(floor), Numeric,
               "least squares: the sums over the calibration's inputs are not finite");
  if (floor <= 0) return {request.weight, request.bias};  // nothing ever comes in
  double ridge = request.options.ridge;
  for (int i = 0; i < kTries; ++i) {
    at::Tensor added = diagonal * ridge + floor;
    if (biased) added[-1].fill_(floor);  // what is always 1 needs no holding
    const at::Tensor left = request.gram + at::diag(added);
    const at::Tensor right = request.cross + prior * added;
    const auto [factor, info] = at::linalg_cholesky_ex(left);
    if (info.item<int>() == 0) {
      const at::Tensor solved = at::cholesky_solve(right.t().contiguous(), factor).t().contiguous();
      if (at::isfinite(solved).all().item<bool>()) {
        if (!biased) return {solved, {}};
        const int64_t inputs = request.weight.size(1);
        return {solved.narrow(1, 0, inputs).contiguous(), solved.select(1, inputs).contiguous()};
      }
    }
    ridge = std::max(10 * ridge, 1e-6);
  }
  PRUNUS_FAIL(Numeric, "least squares: the normal equations of ", diagonal.numel(),
              " inputs cannot be solved, with a ridge of ", ridge,
              " times their mean squares either; calibrate on more text");
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
