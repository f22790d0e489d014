// Second moments of an input: what solvers that correct the weights that stay need.
#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace stats {
namespace {

// Σ x·xᵀ in the dtype of x, FP32 at least.
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& /*y*/) {
  const at::Tensor rows = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  if (sums.empty()) {
    sums.push_back(second_moments(rows));
  } else {
    sums[0].add_(second_moments(rows));
  }
}

}  // namespace

const Statistic hessian{.name = "hessian",
                        .source = "Frantar & Alistarh, arXiv:2301.00774, section 3",
                        .bytes = [](int64_t channels) { return 4 * channels * channels; },
                        .add = add};

}  // namespace stats

at::Tensor hessian_of(const StatisticSums& sums) {
  return sums.sums.at(0) * (2.0 / static_cast<double>(sums.tokens));
}

}  // namespace prunus
