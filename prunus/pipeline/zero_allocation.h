#pragma once
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "prunus/calib/vocab_pass.h"
#include "prunus/pipeline/options.h"
#include "prunus/pipeline/plan.h"

namespace prunus {

/// What an allocation may look at.
struct AllocationRequest {
  const Model& model;  ///< dense
  const PruneRecipe& recipe;
  const std::vector<TokenBatch>& calibration;
  /// Text to judge on, none of it calibration's; for allocations that measure.
  std::function<std::vector<TokenBatch>()> held_out = {};
};

/// The share of zeros that a matrix is to have. Only differences count: all are moved alike until
/// their mean is what was asked for.
struct ZeroShare {
  int layer = 0;
  Role role = Role::QProj;
  double sparsity = 0;
};

/// How zeros are shared out among the matrices of a model. One object per file of
/// pipeline/allocations/. (Of sets of units: prunus/budget.)
struct ZeroAllocation {
  std::string_view name;  ///< as on the command line
  std::string_view source;
  std::string_view summary;  ///< one line for --help
  double reach = 1;          ///< no matrix gets further from the sparsity asked for
  /// Damage is measured on held-out text, with the recipe's solver.
  bool measures = false;
  /// One of each matrix of the recipe's layers.
  std::vector<ZeroShare> (*shares)(const AllocationRequest& request) = nullptr;
};

namespace allocations {
/// Every allocation, by file name.
std::span<const ZeroAllocation* const> all();
}  // namespace allocations

/// The allocation of that name; null for "uniform". Throws InvalidArgument listing the known ones.
const ZeroAllocation* find_allocation(std::string_view name);

/// How many weights of each matrix are zero: the shares, moved alike within reach of `sparsity`, so
/// that of all their weights ⌊sparsity · weights⌋ are, exactly.
std::vector<PlanZeros> zeros_by(const Model& model, const std::vector<ZeroShare>& shares,
                                double sparsity, double reach);

/// The recipe's allocation; empty where it is uniform. Throws InvalidArgument where it needs text
/// that is missing; Numeric; Interrupted.
std::vector<PlanZeros> allocate_zeros(const AllocationRequest& request);

/// How many zeros a matrix [rows, columns] of a layer has, or an expert's part of one: by `zeros`,
/// and where that does not list it by pattern and sparsity. Throws InvalidArgument where the
/// model has no such matrix, or a smaller one.
std::function<int64_t(int layer, Role role, int64_t rows, int64_t columns)> zero_counter(
    const Model& model, const std::vector<PlanZeros>& zeros, const Pattern& pattern,
    double sparsity);

}  // namespace prunus
