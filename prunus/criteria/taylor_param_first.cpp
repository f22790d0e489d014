#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor change(const WeightStats& stats) {
  return stats.weight * gradient_of(stats.of(stats::gradient));
}

at::Tensor element(const WeightStats& stats) { return change(stats).abs(); }

// In one pass over memory.
at::Tensor slice(const SliceRequest& request) {
  return at::linalg_vector_norm(change(request.stats), 1, {1 - request.dim});
}

}  // namespace

// Σ |W·∂L/∂W| over the elements of a slice (the paper's Element¹).
extern const Criterion taylor_param_first{.name = "taylor_param_first",
                                          .source = "arXiv:2305.11627 eq. 5, first order",
                                          .needs = {.statistics = {&stats::gradient}},
                                          .element = element,
                                          .slice = slice};

}  // namespace prunus::criteria
