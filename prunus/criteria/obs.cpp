// The damage of removing a unit of a matrix's inputs when what is left makes up for it as well as
// it can.
#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

// λ of solve/solver.h, at which the weights that stay will be fitted.
constexpr double kRidge = 0.1;
constexpr double kFloor = 1e-7;
constexpr int kTries = 8;

// (H + λ·diag(H))⁻¹, FP64; undefined where nothing ever came in.
at::Tensor inverse_of(const at::Tensor& hessian) {
  const at::Tensor diagonal = hessian.diagonal();
  const double floor = kFloor * diagonal.mean().item<double>();
  PRUNUS_CHECK(std::isfinite(floor), Numeric,
               "criterion obs: the second moments of the calibration's inputs are not finite");
  if (floor <= 0) return {};
  double ridge = kRidge;
  for (int i = 0; i < kTries; ++i, ridge *= 10) {
    const auto [factor, info] =
        at::linalg_cholesky_ex(hessian + at::diag(diagonal * ridge + floor));
    if (info.item<int>() == 0) return at::cholesky_inverse(factor);
  }
  PRUNUS_FAIL(Numeric, "criterion obs: the second moments of ", diagonal.numel(),
              " inputs have no inverse; calibrate on more text");
}

// tr(W_u·(P_uu)⁻¹·W_uᵀ)/2 of each unit u of columns, P = H⁻¹.
at::Tensor unit(const UnitRequest& request) {
  const WeightStats& stats = request.stats;
  const int64_t units = request.columns.size(0);
  const StatisticSums& sums = stats.of_input(stats::hessian);
  if (sums.tokens == 0) return at::zeros({units}, at::kDouble);
  const at::Tensor weight = stats.weight.to(at::kCPU, at::kDouble);
  const at::Tensor inverse = inverse_of(hessian_of(sums).to(at::kCPU, at::kDouble));
  if (!inverse.defined()) return at::zeros({units}, at::kDouble);
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
