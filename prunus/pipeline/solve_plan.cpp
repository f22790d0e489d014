#include "prunus/pipeline/solve_plan.h"

#include <filesystem>
#include <numeric>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/added_biases.h"
#include "prunus/solve/stream_scale.h"

namespace prunus {
namespace {

constexpr const char* kStem = "solved";

std::vector<int64_t> dense_layers(const Plan& plan, const Model& cut) {
  for (const PlanEntry& entry : plan.entries) {
    if (entry.keep.label == AxisLabel::Layer) return entry.keep.units;
  }
  std::vector<int64_t> layers(static_cast<size_t>(cut.layer_count()));
  std::iota(layers.begin(), layers.end(), int64_t{0});
  return layers;
}

void say_what_stays(const Model& cut) {
  for (int layer = 0; layer < cut.layer_count(); ++layer) {
    if (refits(cut, layer, false)) continue;
    log_warning(c10::str("layer ", layer,
                         ": the solver does not update experts; their down_proj stays as it is, "
                         "here and in layers alike"));
    return;
  }
}

}  // namespace

SolvedModel solve_by_plan(const Model& dense, const Model& cut, const Plan& plan,
                          const std::vector<TokenBatch>& rows, at::Device device,
                          const std::string& folder) {
  const PlanSolver& chosen = *plan.solver;
  const Solver& solver = find_solver(chosen.name);
  if (solver.scales_stream) {
    SolvedModel scaled;
    scaled.scales = stream_scales(cut, dense, dense_layers(plan, cut), rows, device);
    scaled.model = std::make_unique<Model>(with_scaled_stream(cut, scaled.scales));
    return scaled;
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  PRUNUS_CHECK(!error, Io, folder, ": cannot create directory: ", error.message());
  say_what_stays(cut);
  SolvedModel result;
  result.cut = std::make_unique<Model>(
      solver.adds_bias ? with_zero_biases(cut, {Role::OProj, Role::DownProj}) : cut);
  Model exact = dense;
  exact.set_precision(chosen.precision);
  result.cut->set_precision(chosen.precision);
  const LayerFiles files(*result.cut, folder, kStem);
  result.parts = refit_outputs(
      *result.cut, exact, dense_layers(plan, cut), rows, device, solver, chosen.options,
      [&](int layer, const std::vector<OverlayTensor>& tensors) { files.keep(layer, tensors); },
      [&](int layer) { return files.restore(layer); });
  result.model = std::make_unique<Model>(
      result.cut->config(), std::make_shared<OverlaySource>(result.cut->shared_source(), files));
  result.model->set_precision(cut.precision());
  result.cut->set_precision(cut.precision());
  return result;
}

Json solver_json(const PlanSolver& solver, const SolvedModel& solved) {
  if (!solved.scales.empty()) return {{"name", solver.name}, {"scales", solved.scales}};
  Json list = Json::array();
  for (const RefitResult& one : solved.parts) {
    list.push_back({{"layer", one.layer},
                    {"part", one.part},
                    {"error_before", one.error_before},
                    {"error_after", one.error_after}});
  }
  return {{"name", solver.name},
          {"ridge", solver.options.ridge},
          {"residual_correction", solver.options.residual_correction},
          {"token_weights", solver.options.token_weights},
          {"parts", std::move(list)}};
}

bool is_solved_file(const std::string& file_name) {
  return file_name.starts_with(std::string(kStem) + "-");
}

}  // namespace prunus
