#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor score(const SliceRequest& request) {
  return at::linalg_vector_norm(request.stats.weight * request.stats.gradient, 1,
                                {1 - request.dim});
}

}  // namespace

// Σ |W·∂L/∂W| over the elements of a slice (the paper's Element¹).
extern const Criterion taylor_param_first{
    "taylor_param_first", "arXiv:2305.11627 eq. 5, first order", Needs::Gradient, score};

}  // namespace prunus::criteria
