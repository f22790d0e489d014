#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor element(const WeightStats& stats) { return stats.weight.square(); }

}  // namespace

// Σ W² of a slice; like the reference, no root is taken.
extern const Criterion l2{.name = "l2",
                          .source = "arXiv:2305.11627, magnitude, p = 2",
                          .needs = {.weights = true},
                          .element = element};

}  // namespace prunus::criteria
