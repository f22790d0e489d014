#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor score(const SliceRequest& request) {
  const WeightStats& stats = request.stats;
  // W·(g − ½·A·W), one temporary.
  at::Tensor change = stats.squared_gradient.to(stats.weight.scalar_type()) * stats.weight;
  change.mul_(-0.5).add_(stats.gradient).mul_(stats.weight);
  return at::linalg_vector_norm(change, 1, {1 - request.dim});
}

}  // namespace

// Σ |W·g − ½·W·A·W| over the elements of a slice: both terms of the change of the loss when a
// weight is set to zero. The minus is that of the expansion around the trained weight.
extern const Criterion taylor_param_mix{"taylor_param_mix",
                                        "arXiv:2305.11627 eq. 5, first and second order",
                                        Needs::GradientAndSquares, score};

}  // namespace prunus::criteria
