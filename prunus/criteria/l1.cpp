#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor element(const WeightStats& stats) { return stats.weight.abs(); }

// In one pass over memory.
at::Tensor slice(const SliceRequest& request) {
  return at::linalg_vector_norm(request.stats.weight, 1, {1 - request.dim});
}

}  // namespace

// Σ |W| of a slice. Source: LLM-Pruner's magnitude importance with p = 1.
extern const Criterion l1{.name = "l1",
                          .source = "arXiv:2305.11627, magnitude, p = 1",
                          .needs = {.weights = true},
                          .element = element,
                          .slice = slice};

}  // namespace prunus::criteria
