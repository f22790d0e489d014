#include "prunus/pipeline/plan_state.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/model/mask.h"
#include "prunus/pipeline/solve_plan.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

std::string step_path(const WorkFolder& folder, int64_t step) {
  return c10::str(folder.path(), "/step-", step);
}

}  // namespace

PlanContext plan_context(const WorkFolder& folder, int64_t ram_bytes,
                         std::function<std::vector<TokenBatch>(int64_t)> calibration) {
  PlanContext context;
  context.calibration = std::move(calibration);
  context.mask_dir = folder.path() + "/masks";
  context.ram_bytes = ram_bytes;
  context.store = [&folder, ram_bytes](int64_t step) {
    return std::make_unique<StreamStore>(StreamStore::Options{
        .dir = step_path(folder, step), .ram_bytes = ram_bytes, .resumable = folder.resumable()});
  };
  if (!folder.resumable()) return context;
  context.finished = [&folder](int64_t step) -> std::optional<PlanResult> {
    const std::string path = step_path(folder, step) + ".json";
    if (!fs::exists(path)) return std::nullopt;
    const Json saved = read_json(path);
    try {
      return PlanResult{plan_from_json(saved.at("plan"), path),
                        saved.at("calibration_loss").get<double>(), saved.at("ratio").get<double>(),
                        saved.at("search").get<std::string>()};
    } catch (const nlohmann::json::exception& json_error) {
      PRUNUS_FAIL(Corrupt, path, ": not a finished step: ", json_error.what());
    }
  };
  const auto walk_path = [&folder](int64_t walk) {
    return c10::str(step_path(folder, 0), "-walk-", walk, ".json");
  };
  context.measured = [walk_path](int64_t walk) -> std::optional<std::string> {
    if (!fs::exists(walk_path(walk))) return std::nullopt;
    return read_json(walk_path(walk)).dump();
  };
  context.keep_measured = [walk_path](int64_t walk, const std::string& json) {
    write_file(walk_path(walk), json + "\n");
  };
  context.finish = [&folder](int64_t step, const PlanResult& result) {
    write_file(step_path(folder, step) + ".json",
               Json{{"plan", to_json(result.plan)},
                    {"calibration_loss", result.calibration_loss},
                    {"ratio", result.ratio},
                    {"search", result.search}}
                       .dump() +
                   "\n");
    std::error_code ignored;
    fs::remove_all(step_path(folder, step), ignored);
  };
  return context;
}

bool is_plan_state(const std::string& name) {
  const bool layer = is_mask_file(name) || is_solved_file(name);
  if (layer && name.ends_with(".json")) return true;
  if (name.ends_with(".json") && name.starts_with("step-")) return true;
  const bool block = name.starts_with("hidden-") || name.starts_with("gradient-");
  return block && name.ends_with(".tensors") && name != "hidden-0.tensors";
}

}  // namespace prunus
