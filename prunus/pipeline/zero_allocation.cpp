#include "prunus/pipeline/zero_allocation.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "prunus/base/error.h"
#include "prunus/base/nearest.h"
#include "prunus/model/layout.h"
#include "prunus/solve/sparse_walk.h"

namespace prunus {
namespace {

// Of a matrix something stays.
constexpr double kMostZeros = 0.99;

int64_t weights_in(const Model& model, int layer, Role role) {
  const TensorInfo& tensor = model.tensor(role, layer);
  return tensor.shape[0] * tensor.shape[1];
}

Role matrix_role(const Model& model, const PlanZeros& one) {
  if (one.layer < model.layer_count()) {
    for (const Role role : maskable_roles(model, one.layer)) {
      if (role_name(role) == one.matrix) return role;
    }
  }
  PRUNUS_FAIL(InvalidArgument, "the plan has zeros in ", one.matrix, " of layer ", one.layer,
              ", which the model has not; the plan was made for another model");
}

}  // namespace

const ZeroAllocation* find_allocation(std::string_view name) {
  std::vector<std::string> known{"uniform"};
  if (name == known[0]) return nullptr;
  for (const ZeroAllocation* one : allocations::all()) {
    if (one->name == name) return one;
    known.emplace_back(one->name);
  }
  PRUNUS_FAIL(InvalidArgument, "--allocation ", unknown_word(name, known));
}

std::vector<PlanZeros> zeros_by(const Model& model, const std::vector<ZeroShare>& shares,
                                double sparsity, double reach) {
  std::vector<double> weights;
  for (const ZeroShare& one : shares) {
    weights.push_back(static_cast<double>(weights_in(model, one.layer, one.role)));
  }
  const double least = std::max(0.0, sparsity - reach);
  const double most = std::max(sparsity, std::min(kMostZeros, sparsity + reach));
  const auto moved = [&](size_t i, double by) {
    return weights[i] * std::clamp(shares[i].sparsity + by, least, most);
  };
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  double low = -1e3;
  double high = 1e3;
  for (int i = 0; i < 100; ++i) {
    const double by = (low + high) / 2;
    double zeros = 0;
    for (size_t m = 0; m < shares.size(); ++m) zeros += moved(m, by);
    (zeros < sparsity * all ? low : high) = by;
  }
  std::vector<PlanZeros> counts;
  auto left = static_cast<int64_t>(sparsity * all);
  for (size_t m = 0; m < shares.size(); ++m) {
    const auto zeros = static_cast<int64_t>(moved(m, low));
    counts.push_back({shares[m].layer, role_name(shares[m].role), zeros});
    left -= zeros;
  }
  // What rounding down has left over, one by one.
  for (size_t m = 0; left > 0; m = (m + 1) % counts.size()) {
    if (static_cast<double>(counts[m].zeros) >= weights[m]) continue;
    ++counts[m].zeros;
    --left;
  }
  return counts;
}

std::vector<PlanZeros> allocate_zeros(const AllocationRequest& request) {
  const ZeroAllocation* allocation = request.recipe.allocation;
  if (allocation == nullptr) return {};
  PRUNUS_CHECK(!request.calibration.empty(), InvalidArgument, "--allocation ", allocation->name,
               " looks at text: pass --calib FILE");
  PRUNUS_CHECK(!allocation->measures || request.held_out != nullptr, InvalidArgument,
               "--allocation ", allocation->name, " judges on held-out text");
  return zeros_by(request.model, allocation->shares(request), request.recipe.sparsity,
                  allocation->reach);
}

std::function<int64_t(int layer, Role role, int64_t rows, int64_t columns)> zero_counter(
    const Model& model, const std::vector<PlanZeros>& zeros, const Pattern& pattern,
    double sparsity) {
  std::map<std::pair<int, Role>, std::pair<int64_t, int64_t>> counts;
  for (const PlanZeros& one : zeros) {
    const Role role = matrix_role(model, one);
    const int64_t weights = weights_in(model, one.layer, role);
    PRUNUS_CHECK(one.zeros <= weights, InvalidArgument, "the plan has ", one.zeros, " zeros in ",
                 one.matrix, " of layer ", one.layer, ", which has ", weights,
                 " weights; the plan was made for another model");
    counts[{one.layer, role}] = {one.zeros, weights};
  }
  return [counts, pattern, sparsity](int layer, Role role, int64_t rows, int64_t columns) {
    const auto found = counts.find({layer, role});
    if (found == counts.end()) return zeros_of(pattern, rows, columns, sparsity);
    return found->second.first / (found->second.second / (rows * columns));
  };
}

}  // namespace prunus
