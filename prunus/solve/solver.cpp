#include "prunus/solve/solver.h"

#include <string>

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {

const Solver& find_solver(std::string_view name) {
  std::string known;
  for (const Solver* one : solvers::all()) {
    if (one->name == name) return *one;
    known += c10::str(known.empty() ? "" : ", ", one->name);
  }
  PRUNUS_FAIL(InvalidArgument, "--solver '", std::string(name), "', expected none, ", known);
}

double squared_error(const SolveRequest& request, const Solved& solved) {
  at::Tensor weight = solved.weight;
  if (solved.bias.defined()) weight = at::cat({weight, solved.bias.unsqueeze(1)}, 1);
  const at::Tensor quadratic = (at::matmul(weight, request.gram) * weight).sum();
  const at::Tensor linear = (request.cross * weight).sum();
  return request.square + (quadratic - 2 * linear).item<double>();
}

}  // namespace prunus
