#include <vector>

#include <ATen/ATen.h>

#include "prunus/criteria/criterion.h"

namespace prunus::criteria {
namespace {

at::Tensor slice(const SliceRequest& request) {
  std::vector<double> draws(static_cast<size_t>(request.slices));
  for (double& draw : draws) draw = request.random.uniform();
  return at::tensor(draws, at::kDouble);
}

}  // namespace

// Uniform in [0, 1) per slice: what every other criterion must beat.
extern const Criterion random{
    .name = "random", .source = "uniform baseline", .needs = {}, .slice = slice};

}  // namespace prunus::criteria
