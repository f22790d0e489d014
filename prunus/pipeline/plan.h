#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/graph/layer_sums.h"
#include "prunus/graph/shrink.h"
#include "prunus/pipeline/plan_text.h"
#include "prunus/solve/pattern.h"
#include "prunus/solve/solver.h"
#include "prunus/solve/sparse_solver.h"

namespace prunus {

/// What stays of one group set, and why.
struct PlanEntry {
  Keep keep;
  int64_t units = 0;           ///< before pruning
  std::vector<double> scores;  ///< [units], higher = keep; may be empty in a plan written by hand
};

/// Zeros in the matrices of what stays. Which weights they are stands in masks/ beside the plan
/// (docs/formats/mask.md).
struct PlanMask {
  Pattern pattern;
  double sparsity = 0;
  std::string sha256;  ///< of the masks (sha256_of_masks)
};

/// How what stays is updated, and on which text.
struct PlanSolver {
  std::string name;
  SolverOptions options;
  PlanText calibration;
  at::ScalarType precision = at::kFloat;  ///< of the models' products: Float or BFloat16
};

/// How many weights of a matrix are zero, of all experts of a mixture together.
struct PlanZeros {
  int layer = 0;
  std::string matrix;  ///< role_name()
  int64_t zeros = 0;
  bool operator==(const PlanZeros&) const = default;
};

/// Zeros that are found while the weights that stay are updated (solve/sparse_walk.h), on which
/// text. Which weights they are comes out when the plan is carried out.
struct PlanSparse {
  std::string criterion;  ///< whose scores choose what stays; empty: the solver chooses
  std::string solver;     ///< of solve/sparse_solvers/
  SparseOptions options;
  Pattern pattern;
  double sparsity = 0;
  int64_t first_layer = 0;
  int64_t end_layer = 0;         ///< the one behind the last
  bool half = false;             ///< products in BF16
  std::vector<PlanZeros> zeros;  ///< of every matrix; empty: by the sparsity
  PlanText calibration;
};

/// The residual stream in the basis of its principal directions on a text, the first of which stay
/// (graph/rotate.h).
struct PlanRotation {
  int64_t channels = 0;  ///< hidden_size behind the keeps
  int64_t kept = 0;
  PlanText calibration;
};

/// The hinge of the program: everything before it only reads the model, everything after only
/// executes it. Saved as plan.json (docs/formats/plan.md).
struct Plan {
  std::string method;         ///< free text for the reader
  std::string config_sha256;  ///< of the config.json it was made for; empty: not recorded
  std::vector<PlanEntry> entries;
  std::optional<PlanMask> mask = {};
  std::optional<PlanSolver> solver = {};
  std::optional<PlanRotation> rotation = {};  ///< not together with a mask or a solver
  /// Layers made of others before anything is cut; not together with a mask or a rotation.
  std::vector<LayerSum> sums = {};
  std::optional<PlanSparse> sparse = {};  ///< not together with any of these

  std::vector<Keep> keeps() const;
  /// Which tokens stay; null where all do.
  const PlanEntry* vocabulary() const;
};

Json to_json(const Plan& plan);

/// Throws Corrupt naming `where` and the entry on anything that is not a plan of this version.
Plan plan_from_json(const Json& json, const std::string& where);

/// What the plan leaves of the model, before any solver or rotation: layers made of others, then
/// cut by its keeps (query heads inside the KV groups that stay), with the zeros of the masks in
/// `mask_dir` where it has some. Throws as shrink(); NotFound where the masks are missing; Corrupt
/// where they are not those that the plan was made with.
Model result_of(const Model& model, const Plan& plan, const std::string& mask_dir);

/// Throws InvalidArgument where the plan's layers, axes or unit counts are not the model's.
void check_plan(const Plan& plan, const Model& model);

}  // namespace prunus
