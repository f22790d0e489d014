#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

// A row or column of zeros has no share to give: 0 / tiny.
at::Tensor shares(const at::Tensor& size, int64_t dim) {
  constexpr double kLeast = 1e-30;
  return size / size.sum(dim, true).clamp_min(kLeast);
}

// (|W_ij| / Σ_i |W_ij| + |W_ij| / Σ_j |W_ij|)·‖x_j‖^½.
at::Tensor element(const WeightStats& stats) {
  const at::Tensor size =
      stats.weight.to(at::promote_types(stats.weight.scalar_type(), at::kFloat)).abs();
  const at::Tensor norm = input_norm_of(stats.of_input(stats::input_norm));
  return (shares(size, 0) + shares(size, 1)) * norm.sqrt().to(size.scalar_type());
}

}  // namespace

// Needs the whole matrix: shares of columns are over all rows.
extern const Criterion ria{.name = "ria",
                           .source = "Zhang et al., ICLR 2024 (Plug-and-Play), eq. 4, a = 0.5",
                           .needs = {.statistics = {&stats::input_norm}},
                           .element = element};

}  // namespace prunus::criteria
