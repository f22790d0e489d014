#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor element(const WeightStats& stats) {
  return stats.weight.square().mul_(squared_gradient_of(stats.of(stats::squared_gradient)));
}

}  // namespace

// Σ W·A·W over the elements of a slice, A the mean squared per-sample gradient, which stands for
// the diagonal of the Hessian (the paper's Element²).
extern const Criterion taylor_param_second{.name = "taylor_param_second",
                                           .source = "arXiv:2305.11627 eq. 5, second order",
                                           .needs = {.statistics = {&stats::squared_gradient}},
                                           .element = element};

}  // namespace prunus::criteria
