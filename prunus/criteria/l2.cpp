#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor score(const SliceRequest& request) {
  return request.stats.weight.square().sum(1 - request.dim);
}

}  // namespace

// Σ W² of a slice; like the reference, no root is taken.
extern const Criterion l2{"l2", "arXiv:2305.11627, magnitude, p = 2", Needs::Weights, score};

}  // namespace prunus::criteria
