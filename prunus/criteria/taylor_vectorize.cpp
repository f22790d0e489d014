#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor slice(const SliceRequest& request) {
  const StatisticSums& sums = request.stats.of(stats::saliency);
  const bool rows = request.dim == 0;
  return (rows ? row_saliency_of(sums, request.stats.weight) : column_saliency_of(sums)).abs();
}

}  // namespace

// |Σ W·∂L/∂W| over the elements of a slice: the sum is inside (the paper's Vector).
extern const Criterion taylor_vectorize{.name = "taylor_vectorize",
                                        .source = "arXiv:2305.11627 eq. 3, first order",
                                        .needs = {.statistics = {&stats::saliency}},
                                        .slice = slice};

}  // namespace prunus::criteria
