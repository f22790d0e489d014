#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor score(const SliceRequest& request) {
  const WeightStats& stats = request.stats;
  return stats.weight.square().mul_(stats.squared_gradient).sum(1 - request.dim);
}

}  // namespace

// Σ W·A·W over the elements of a slice, A the mean squared per-sample gradient, which stands for
// the diagonal of the Hessian (the paper's Element²).
extern const Criterion taylor_param_second{
    "taylor_param_second", "arXiv:2305.11627 eq. 5, second order", Needs::Squares, score};

}  // namespace prunus::criteria
