// The damage of removing a unit of a matrix's inputs when what is left makes up for it as well as
// it can.
#include <ATen/ATen.h>

#include "prunus/calib/ridge.h"
#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

// λ of the solver, at which the weights that stay will be fitted.
constexpr double kRidge = 0.1;

// tr(W_u·(P_uu)⁻¹·W_uᵀ)/2 of each unit u of columns, P = H⁻¹.
at::Tensor unit(const UnitRequest& request) {
  const WeightStats& stats = request.stats;
  const int64_t units = request.columns.size(0);
  const StatisticSums& sums = stats.of_input(stats::hessian);
  if (sums.tokens == 0) return at::zeros({units}, at::kDouble);
  const at::Tensor weight = stats.weight.to(at::kCPU, at::kDouble);
  const at::Tensor hessian = hessian_of(sums).to(at::kCPU, at::kDouble);
  const RidgedFactor ridged = ridged_factor(hessian, kRidge, false, "criterion obs");
  if (!ridged.factor.defined()) return at::zeros({units}, at::kDouble);
  const at::Tensor inverse = at::cholesky_inverse(ridged.factor);
  if (request.columns.size(1) == 1) {
    return weight.square().sum(0) / inverse.diagonal() / 2;
  }
  at::Tensor scores = at::empty({units}, at::kDouble);
  for (int64_t u = 0; u < units; ++u) {
    const at::Tensor columns = request.columns[u];
    const at::Tensor block = inverse.index_select(0, columns).index_select(1, columns);
    const at::Tensor part = weight.index_select(1, columns);
    const at::Tensor solved = at::cholesky_solve(part.t(), at::linalg_cholesky(block));
    scores[u] = (solved.t() * part).sum() / 2;
  }
  return scores;
}

}  // namespace

extern const Criterion obs{
    .name = "obs",
    .source = "Hassibi & Stork, NeurIPS 1992; by units: Kurtic et al., ZipLM, arXiv:2302.04089",
    .needs = {.statistics = {&stats::hessian}},
    .unit = unit};

}  // namespace prunus::criteria
