#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/pipeline/prune.h"
#include "prunus/solve/sparse_walk.h"

namespace prunus {

class RunRecord;

/// The plan of a recipe with a sparse solver: how many zeros, by the recipe's allocation, and how
/// they are found. Which weights they are comes out when the plan is carried out. Throws as
/// allocate_zeros().
PlanResult sparse_plan(const Model& model, const PlanContext& context, const PruneRecipe& recipe);

/// A model with zeros, whose other weights were updated, layer by layer in files.
struct SparseModel {
  std::unique_ptr<Model> model;
  std::vector<SparseResult> matrices;  ///< of layers that an earlier process left: none
};

/// Carries out the plan's zeros on `model`, which must outlive the result. `folder` takes the
/// layers, as solve_by_plan()'s. Throws as solve_sparse(); InvalidArgument for a plan of another
/// model, or an unknown solver or criterion; Io.
SparseModel sparse_by_plan(const Model& model, const Plan& plan,
                           const std::vector<TokenBatch>& rows, at::Device device,
                           const std::string& folder);

/// The same as a stage of `record`, which is told: under "sparse" solver, settings and every
/// matrix, under "mask" what the written model has.
SparseModel fill_with_zeros(const Model& model, const Plan& plan, RunRecord& record,
                            at::Device device, const std::string& folder,
                            const std::function<std::vector<TokenBatch>()>& rows);

}  // namespace prunus
