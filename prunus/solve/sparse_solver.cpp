#include "prunus/solve/sparse_solver.h"

#include <string>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

double energy(const at::Tensor& gram, const at::Tensor& weight) {
  return (product(weight, gram) * weight).sum(at::kDouble).item<double>();
}

}  // namespace

const SparseSolver& find_sparse_solver(std::string_view name) {
  std::vector<std::string> known;
  for (const SparseSolver* solver : sparse_solvers::all()) {
    if (solver->name == name) return *solver;
    known.emplace_back(solver->name);
  }
  PRUNUS_FAIL(InvalidArgument, "--solver ", unknown_word(name, known));
}

double relative_loss(const at::Tensor& gram, const at::Tensor& weight, const at::Tensor& solved) {
  const double whole = energy(gram, weight);
  return whole > 0 ? energy(gram, weight - solved) / whole : 0;
}

}  // namespace prunus
