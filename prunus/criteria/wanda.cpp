#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

// |W[i, j]|·‖x_j‖₂ over all tokens.
at::Tensor element(const WeightStats& stats) {
  const at::Tensor weight =
      stats.weight.to(at::promote_types(stats.weight.scalar_type(), at::kFloat));
  const at::Tensor norm = input_norm_of(stats.of_input(stats::input_norm));
  return weight.abs() * norm.to(weight.scalar_type());
}

}  // namespace

extern const Criterion wanda{.name = "wanda",
                             .source = "Sun et al., arXiv:2306.11695, eq. 1",
                             .needs = {.statistics = {&stats::input_norm}},
                             .element = element};

}  // namespace prunus::criteria
