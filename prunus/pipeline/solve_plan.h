#pragma once
#include <memory>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/calib/vocab_pass.h"
#include "prunus/pipeline/plan.h"
#include "prunus/solve/refit.h"

namespace prunus {

/// A model whose kept weights were updated by the plan's solver, layer by layer in files.
struct SolvedModel {
  std::unique_ptr<Model> cut;  ///< what it stands on; must live as long as `model`
  std::unique_ptr<Model> model;
  std::vector<RefitResult> parts;
  std::vector<double> scales = {};  ///< of a solver that scales the stream: stream_scales()
};

/// Carries out the plan's solver on `cut`, what the plan leaves of `dense`. `folder` takes the
/// updated layers, solved-N.*; where it has some from an interrupted run of the same job, these are
/// not solved again. Throws as refit_outputs(), with_zero_biases(); Io.
SolvedModel solve_by_plan(const Model& dense, const Model& cut, const Plan& plan,
                          const std::vector<TokenBatch>& rows, at::Device device,
                          const std::string& folder);

/// Of run.json: solver, its settings, and the error of every part before and after, or by how much
/// the stream of each layer was scaled.
Json solver_json(const PlanSolver& solver, const SolvedModel& solved);

/// Whether a file of this name is a layer that solve_by_plan() has finished.
bool is_solved_file(const std::string& file_name);

}  // namespace prunus
