#include <ATen/ATen.h>

#include "prunus/solve/solver.h"

namespace prunus::solvers {
namespace {

// The mean of what is missing: b = E[t] − W·E[x].
Solved solve(const SolveRequest& request) {
  const int64_t inputs = request.weight.size(1);
  const at::Tensor total = request.gram[inputs][inputs];
  const at::Tensor input = request.gram[inputs].narrow(0, 0, inputs);
  const at::Tensor missing = request.cross.select(1, inputs) - at::mv(request.weight, input);
  return {request.weight, missing / total};
}

}  // namespace

// Differs: what comes in is that of the model as it is cut so far, not of the dense model.
extern const Solver bias{
    .name = "bias",
    .source = "An et al., FLAP, arXiv:2312.11983, section 3.3",
    .summary = "biases of o_proj and down_proj make up for the mean of what is missing",
    .adds_bias = true,
    .solve = solve};

}  // namespace prunus::solvers
