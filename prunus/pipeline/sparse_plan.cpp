#include "prunus/pipeline/sparse_plan.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/job/run_record.h"
#include "prunus/model/layout.h"
#include "prunus/pipeline/zero_allocation.h"

namespace prunus {
namespace {

constexpr const char* kSolvedStem = "solved";

// The methods' criteria are more than the catalogue's.
const Criterion& element_criterion(const std::string& name) {
  for (const Method* method : methods::all()) {
    for (const Criterion* one : method->criteria) {
      if (one->name == name && one->element != nullptr) return *one;
    }
  }
  PRUNUS_FAIL(InvalidArgument, "the plan chooses zeros by criterion '", name,
              "', which no method of this program has");
}

Json zeros_json(const PlanSparse& sparse, const Model& model) {
  int64_t weights = 0;
  int64_t zeros = 0;
  for (int layer = static_cast<int>(sparse.first_layer); layer < sparse.end_layer; ++layer) {
    for (const Role role : maskable_roles(model, layer)) {
      const at::Tensor value = model.source().read(model.tensor(role, layer));
      weights += value.numel();
      zeros += value.numel() - value.count_nonzero().item<int64_t>();
    }
  }
  return {{"pattern", pattern_name(sparse.pattern)},
          {"sparsity", sparse.sparsity},
          {"weights", weights},
          {"zeros", zeros}};
}

Json sparse_json(const PlanSparse& sparse, const std::vector<SparseResult>& matrices) {
  Json list = Json::array();
  for (const SparseResult& one : matrices) {
    list.push_back({{"layer", one.layer},
                    {"matrix", role_name(one.role)},
                    {"weights", one.weights},
                    {"zeros", one.zeros},
                    {"error", one.error}});
  }
  return {{"criterion", sparse.criterion},
          {"solver", sparse.solver},
          {"damping", sparse.options.damping},
          {"ridge", sparse.options.ridge},
          {"dense_target", sparse.options.dense_target},
          {"residual_correction", sparse.options.residual_correction},
          {"token_weights", sparse.options.token_weights},
          {"matrices", std::move(list)}};
}

}  // namespace

PlanResult sparse_plan(const Model& model, const PlanContext& context, const PruneRecipe& recipe) {
  if (context.finished) {
    if (auto earlier = context.finished(0)) return *earlier;
  }
  const LayerRange range = recipe.attn_layers;
  PlanResult result;
  result.plan.method =
      c10::str(recipe.name, recipe.solver_chooses() ? "" : c10::str(", ", recipe.criterion->name),
               ", solver ", recipe.sparse_solver->name, ", zeros by ", pattern_name(recipe.pattern),
               ", sparsity ", recipe.sparsity, ", layers ", range.begin, ":", range.end, ", seed ",
               recipe.seed);
  result.plan.sparse = {
      .criterion = recipe.solver_chooses() ? "" : std::string(recipe.criterion->name),
      .solver = std::string(recipe.sparse_solver->name),
      .options = recipe.sparse_options,
      .pattern = recipe.pattern,
      .sparsity = recipe.sparsity,
      .first_layer = range.begin,
      .end_layer = range.end,
      .half = recipe.precision == at::kBFloat16,
      .zeros = {},
      .calibration = {}};
  if (recipe.allocation != nullptr) {
    TORCH_INTERNAL_ASSERT(context.calibration);
    Model run = model;
    run.set_precision(recipe.precision);
    result.plan.method += c10::str(", allocation ", recipe.allocation->name);
    result.plan.sparse->zeros = allocate_zeros({.model = run,
                                                .recipe = recipe,
                                                .calibration = context.calibration(0),
                                                .held_out = context.held_out});
    if (context.finish) context.finish(0, result);
  }
  return result;
}

SparseModel sparse_by_plan(const Model& model, const Plan& plan,
                           const std::vector<TokenBatch>& rows, at::Device device,
                           const std::string& folder) {
  const PlanSparse& sparse = *plan.sparse;
  const bool fits = sparse.first_layer >= 0 && sparse.first_layer <= sparse.end_layer &&
                    sparse.end_layer <= model.layer_count();
  PRUNUS_CHECK(fits, InvalidArgument, "the plan has zeros in layers ", sparse.first_layer, ":",
               sparse.end_layer, ", the model has ", model.layer_count(), " layers");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  PRUNUS_CHECK(!error, Io, folder, ": cannot create directory: ", error.message());
  SparseTask task{.solver = &find_sparse_solver(sparse.solver),
                  .options = sparse.options,
                  .pattern = sparse.pattern,
                  .layers = {sparse.first_layer, sparse.end_layer},
                  .zeros = zero_counter(model, sparse.zeros, sparse.pattern, sparse.sparsity)};
  if (!sparse.criterion.empty()) {
    const Criterion& criterion = element_criterion(sparse.criterion);
    task.score = criterion.element;
    task.needs = criterion.needs;
  }
  Model run = model;
  run.set_precision(sparse.half ? at::kBFloat16 : at::kFloat);
  const LayerFiles files(model, folder, kSolvedStem);
  SparseModel result;
  result.matrices = solve_sparse(
      run, rows, device, task,
      [&](int layer, const std::vector<OverlayTensor>& tensors) { files.keep(layer, tensors); },
      [&](int layer) { return files.restore(layer); });
  result.model = std::make_unique<Model>(
      model.config(), std::make_shared<OverlaySource>(model.shared_source(), files));
  result.model->set_precision(model.precision());
  return result;
}

SparseModel fill_with_zeros(const Model& model, const Plan& plan, RunRecord& record,
                            at::Device device, const std::string& folder,
                            const std::function<std::vector<TokenBatch>()>& rows) {
  SparseModel result =
      record.stage("solve", [&] { return sparse_by_plan(model, plan, rows(), device, folder); });
  record.set("sparse", sparse_json(*plan.sparse, result.matrices));
  record.set("mask", zeros_json(*plan.sparse, *result.model));
  return result;
}

}  // namespace prunus
