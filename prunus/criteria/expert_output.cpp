#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor slice(const SliceRequest& request) {
  // An expert that no token chose has a sum of 0, and so a score of 0.
  return mean_expert_output_of(request.stats.of_experts(stats::expert_output));
}

}  // namespace

// Mean of g(x)·‖f(x)‖₂ over the tokens that an expert is chosen for: how far the layer's output
// moves, on each of them, if the expert goes and nothing takes its place.
extern const Criterion expert_output{
    .name = "expert_output",
    .source = "arXiv:2510.13999, router-weighted expert activation (REAP)",
    .needs = {.statistics = {&stats::expert_output}},
    .slice = slice};

}  // namespace prunus::criteria
