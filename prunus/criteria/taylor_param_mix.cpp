#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

// W·(g − ½·A·W), one temporary.
at::Tensor change(const WeightStats& stats) {
  const auto [gradient, squared] = sample_gradients_of(stats.of(stats::sample_gradients));
  at::Tensor change = squared.to(stats.weight.scalar_type()) * stats.weight;
  return change.mul_(-0.5).add_(gradient).mul_(stats.weight);
}

at::Tensor element(const WeightStats& stats) { return change(stats).abs_(); }

at::Tensor slice(const SliceRequest& request) {
  return at::linalg_vector_norm(change(request.stats), 1, {1 - request.dim});
}

}  // namespace

// Σ |W·g − ½·W·A·W| over the elements of a slice: both terms of the change of the loss when a
// weight is set to zero. The minus is that of the expansion around the trained weight.
extern const Criterion taylor_param_mix{.name = "taylor_param_mix",
                                        .source = "arXiv:2305.11627 eq. 5, first and second order",
                                        .needs = {.statistics = {&stats::sample_gradients}},
                                        .element = element,
                                        .slice = slice};

}  // namespace prunus::criteria
