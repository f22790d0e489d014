#include "prunus/pipeline/plan.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/whole_number.h"
#include "prunus/job/job_options.h"
#include "prunus/model/mask.h"

namespace prunus {
namespace {

// 1: keeps alone; 2: with masks; 3: with a solver; 4: with a rotation; 5: with layers
// made of others, and perhaps a solver; 6: sparse with a solver.
constexpr int kPlanVersion = 1;
constexpr int kMaskVersion = 2;
constexpr int kSolverVersion = 3;
constexpr int kRotationVersion = 4;
constexpr int kSumsVersion = 5;
constexpr int kSparseVersion = 6;
constexpr AxisLabel kPlannable[] = {
    AxisLabel::Ffn,       AxisLabel::KvGroup,       AxisLabel::QueryHead,       AxisLabel::RopePair,
    AxisLabel::ValueDim,  AxisLabel::Hidden,        AxisLabel::Layer,           AxisLabel::Expert,
    AxisLabel::SharedFfn, AxisLabel::AttentionPart, AxisLabel::FeedForwardPart, AxisLabel::Vocab};

std::string plannable_names() {
  std::string names;
  for (const AxisLabel label : kPlannable)
    names += c10::str(names.empty() ? "" : ", ", axis_name(label));
  return names;
}

AxisLabel axis_from(const std::string& name, const std::string& where) {
  for (const AxisLabel label : kPlannable) {
    if (axis_name(label) == name) return label;
  }
  PRUNUS_FAIL(Corrupt, where, ": axis '", name, "' cannot be planned; known: ", plannable_names());
}

PlanEntry entry_from(const Json& json, const std::string& where) {
  PlanEntry entry;
  const int64_t layer = whole_number(json, "layer", where);
  PRUNUS_CHECK(layer >= -1 && layer <= INT32_MAX, Corrupt, where, ": layer is ", layer,
               ", expected -1 to ", INT32_MAX);
  entry.keep.layer = static_cast<int>(layer);
  entry.keep.label = axis_from(json.at("axis").get<std::string>(), where);
  entry.units = whole_number(json, "units", where);
  PRUNUS_CHECK(json.at("keep").is_array(), Corrupt, where, ": keep is no list");
  for (const Json& unit : json.at("keep")) {
    entry.keep.units.push_back(whole_number(unit, where + ": keep"));
  }
  if (json.contains("scores")) entry.scores = json.at("scores").get<std::vector<double>>();
  const bool fits =
      entry.scores.empty() || static_cast<int64_t>(entry.scores.size()) == entry.units;
  PRUNUS_CHECK(fits, Corrupt, where, ": ", entry.scores.size(), " scores for ", entry.units,
               " units");
  return entry;
}

Pattern pattern_from(const Json& json, const std::string& where) {
  try {
    return parse_pattern(json.at("pattern").get<std::string>());
  } catch (const Error& error) {
    PRUNUS_FAIL(Corrupt, where, ": ", error.what());
  }
}

double sparsity_from(const Json& json, const std::string& where) {
  const auto sparsity = json.at("sparsity").get<double>();
  PRUNUS_CHECK(sparsity >= 0 && sparsity < 1, Corrupt, where, ": sparsity ", sparsity,
               " is not in [0, 1)");
  return sparsity;
}

PlanMask mask_from(const Json& json, const std::string& where) {
  PlanMask mask;
  mask.pattern = pattern_from(json, where);
  mask.sparsity = sparsity_from(json, where);
  mask.sha256 = json.at("sha256").get<std::string>();
  return mask;
}

PlanSolver solver_from(const Json& json, const std::string& where) {
  PlanSolver solver;
  solver.name = json.at("name").get<std::string>();
  solver.options = {.ridge = json.at("ridge").get<double>(),
                    .residual_correction = json.at("residual_correction").get<double>(),
                    .token_weights = json.at("token_weights").get<bool>()};
  solver.calibration = plan_text_from(json.at("calibration"), where);
  const std::string precision = json.value("precision", "float32");
  PRUNUS_CHECK(precision == "float32" || precision == "bfloat16", Corrupt, where, ": precision '",
               precision, "', expected float32 or bfloat16");
  solver.precision = parse_precision(precision);
  return solver;
}

Json solver_to_json(const PlanSolver& solver) {
  Json json = {{"name", solver.name},
               {"ridge", solver.options.ridge},
               {"residual_correction", solver.options.residual_correction},
               {"token_weights", solver.options.token_weights},
               {"calibration", to_json(solver.calibration)}};
  if (solver.precision != at::kFloat) json["precision"] = name_of_precision(solver.precision);
  return json;
}

PlanRotation rotation_from(const Json& json, const std::string& where) {
  PlanRotation rotation;
  rotation.channels = whole_number(json, "channels", where);
  rotation.kept = whole_number(json, "kept", where);
  PRUNUS_CHECK(rotation.kept >= 1 && rotation.kept <= rotation.channels, Corrupt, where, ": keeps ",
               rotation.kept, " of ", rotation.channels, " channels, expected 1 to all of them");
  rotation.calibration = plan_text_from(json.at("calibration"), where);
  return rotation;
}

Json rotation_to_json(const PlanRotation& rotation) {
  return {{"channels", rotation.channels},
          {"kept", rotation.kept},
          {"calibration", to_json(rotation.calibration)}};
}

Json sums_to_json(const std::vector<LayerSum>& sums) {
  Json list = Json::array();
  for (const LayerSum& sum : sums) {
    Json factors = Json::array();
    for (const auto& [layer, factor] : sum.factors) factors.push_back({layer, factor});
    list.push_back({{"layer", sum.layer}, {"factors", std::move(factors)}});
  }
  return list;
}

std::vector<LayerSum> sums_from(const Json& json, const std::string& where) {
  PRUNUS_CHECK(json.is_array() && !json.empty(), Corrupt, where, ": is no list of layers");
  std::vector<LayerSum> sums;
  for (const Json& one : json) {
    LayerSum sum{.layer = whole_number(one, "layer", where)};
    for (const Json& factor : one.at("factors")) {
      PRUNUS_CHECK(factor.is_array() && factor.size() == 2 && factor[1].is_number_integer(),
                   Corrupt, where, ": a factor is ", factor.dump(),
                   ", expected [layer, whole number]");
      sum.factors[whole_number(factor[0], where)] = factor[1].get<int64_t>();
    }
    PRUNUS_CHECK(!sum.factors.empty(), Corrupt, where, ": layer ", sum.layer, " is made of none");
    sums.push_back(std::move(sum));
  }
  return sums;
}

PlanZeros zeros_from(const Json& json, const std::string& where) {
  const int64_t layer = whole_number(json, "layer", where);
  const int64_t zeros = whole_number(json, "zeros", where);
  PRUNUS_CHECK(layer >= 0 && layer <= INT32_MAX && zeros >= 0, Corrupt, where, ": layer ", layer,
               " with ", zeros, " zeros, expected no negative numbers");
  return {static_cast<int>(layer), json.at("matrix").get<std::string>(), zeros};
}

PlanSparse sparse_from(const Json& json, const std::string& where) {
  PlanSparse sparse;
  sparse.criterion = json.at("criterion").get<std::string>();
  sparse.solver = json.at("solver").get<std::string>();
  sparse.options = {.damping = json.at("damping").get<double>(),
                    .ridge = json.at("ridge").get<double>(),
                    .dense_target = json.at("dense_target").get<bool>(),
                    .residual_correction = json.at("residual_correction").get<double>(),
                    .token_weights = json.at("token_weights").get<bool>()};
  sparse.pattern = pattern_from(json, where);
  sparse.sparsity = sparsity_from(json, where);
  sparse.first_layer = whole_number(json, "first_layer", where);
  sparse.end_layer = whole_number(json, "end_layer", where);
  sparse.half = json.at("bfloat16").get<bool>();
  for (const Json& one : json.at("zeros")) sparse.zeros.push_back(zeros_from(one, where));
  sparse.calibration = plan_text_from(json.at("calibration"), where);
  return sparse;
}

Json sparse_to_json(const PlanSparse& sparse) {
  Json zeros = Json::array();
  for (const PlanZeros& one : sparse.zeros) {
    zeros.push_back({{"layer", one.layer}, {"matrix", one.matrix}, {"zeros", one.zeros}});
  }
  return {{"criterion", sparse.criterion},
          {"solver", sparse.solver},
          {"damping", sparse.options.damping},
          {"ridge", sparse.options.ridge},
          {"dense_target", sparse.options.dense_target},
          {"residual_correction", sparse.options.residual_correction},
          {"token_weights", sparse.options.token_weights},
          {"pattern", pattern_name(sparse.pattern)},
          {"sparsity", sparse.sparsity},
          {"first_layer", sparse.first_layer},
          {"end_layer", sparse.end_layer},
          {"bfloat16", sparse.half},
          {"zeros", std::move(zeros)},
          {"calibration", to_json(sparse.calibration)}};
}

int version_of(const Plan& plan) {
  if (plan.sparse) return kSparseVersion;
  if (!plan.sums.empty()) return kSumsVersion;
  if (plan.rotation) return kRotationVersion;
  if (plan.solver) return kSolverVersion;
  return plan.mask ? kMaskVersion : kPlanVersion;
}

// Query heads of layers whose KV groups are cut as well.
bool inside_groups(const Plan& plan, const PlanEntry& entry) {
  return entry.keep.label == AxisLabel::QueryHead &&
         std::any_of(plan.entries.begin(), plan.entries.end(), [&](const PlanEntry& other) {
           return other.keep.label == AxisLabel::KvGroup && other.keep.layer == entry.keep.layer &&
                  static_cast<int64_t>(other.keep.units.size()) < other.units;
         });
}

// Such heads, numbered as in the model with the KV groups of the plan.
Keep numbered_inside(const Plan& plan, const PlanEntry& heads) {
  const auto groups =
      std::find_if(plan.entries.begin(), plan.entries.end(), [&](const PlanEntry& other) {
        return other.keep.label == AxisLabel::KvGroup && other.keep.layer == heads.keep.layer;
      });
  const int64_t each = heads.units / groups->units;
  Keep inside{heads.keep.label, heads.keep.layer, {}};
  for (const int64_t head : heads.keep.units) {
    const std::vector<int64_t>& kept = groups->keep.units;
    const auto group = std::find(kept.begin(), kept.end(), head / each);
    PRUNUS_CHECK(group != kept.end(), InvalidArgument, "the plan keeps query head ", head,
                 " of layer ", heads.keep.layer, ", but not KV group ", head / each,
                 " that it belongs to");
    inside.units.push_back((group - kept.begin()) * each + head % each);
  }
  return inside;
}

}  // namespace

std::vector<Keep> Plan::keeps() const {
  std::vector<Keep> all;
  for (const PlanEntry& entry : entries) all.push_back(entry.keep);
  return all;
}

const PlanEntry* Plan::vocabulary() const {
  for (const PlanEntry& entry : entries) {
    const bool whole = static_cast<int64_t>(entry.keep.units.size()) == entry.units;
    if (entry.keep.label == AxisLabel::Vocab && !whole) return &entry;
  }
  return nullptr;
}

Json to_json(const Plan& plan) {
  Json groups = Json::array();
  for (const PlanEntry& entry : plan.entries) {
    groups.push_back({{"layer", entry.keep.layer},
                      {"axis", axis_name(entry.keep.label)},
                      {"units", entry.units},
                      {"keep", entry.keep.units},
                      {"scores", entry.scores}});
  }
  Json json = {{"format", "prunus-plan"},
               {"version", version_of(plan)},
               {"method", plan.method},
               {"config_sha256", plan.config_sha256},
               {"groups", std::move(groups)}};
  if (plan.mask) {
    json["mask"] = {{"pattern", pattern_name(plan.mask->pattern)},
                    {"sparsity", plan.mask->sparsity},
                    {"sha256", plan.mask->sha256}};
  }
  if (plan.solver) json["solver"] = solver_to_json(*plan.solver);
  if (plan.rotation) json["rotation"] = rotation_to_json(*plan.rotation);
  if (!plan.sums.empty()) json["sums"] = sums_to_json(plan.sums);
  if (plan.sparse) json["sparse"] = sparse_to_json(*plan.sparse);
  return json;
}

Plan plan_from_json(const Json& json, const std::string& where) {
  Plan plan;
  try {
    PRUNUS_CHECK(json.is_object() && json.value("format", "") == "prunus-plan", Corrupt, where,
                 ": not a plan; expected \"format\": \"prunus-plan\"");
    const Json& version = json.at("version");
    const bool known = version == kPlanVersion || version == kMaskVersion ||
                       version == kSolverVersion || version == kRotationVersion ||
                       version == kSumsVersion || version == kSparseVersion;
    PRUNUS_CHECK(known, Corrupt, where, ": version ", version.dump(), ", this program reads ",
                 kPlanVersion, " to ", kSparseVersion);
    plan.method = json.value("method", "");
    plan.config_sha256 = json.value("config_sha256", "");
    size_t number = 0;
    for (const Json& group : json.at("groups")) {
      plan.entries.push_back(entry_from(group, c10::str(where, ": groups[", number++, "]")));
    }
    if (version == kSumsVersion) plan.sums = sums_from(json.at("sums"), where + ": sums");
    if (version == kSolverVersion || (version == kSumsVersion && json.contains("solver"))) {
      plan.solver = solver_from(json.at("solver"), where + ": solver");
    }
    if (version == kRotationVersion) {
      plan.rotation = rotation_from(json.at("rotation"), where + ": rotation");
    }
    if (version == kSparseVersion) {
      plan.sparse = sparse_from(json.at("sparse"), where + ": sparse");
    }
    if (version == kMaskVersion) plan.mask = mask_from(json.at("mask"), where + ": mask");
  } catch (const nlohmann::json::exception& error) {
    PRUNUS_FAIL(Corrupt, where, ": not a valid plan: ", error.what());
  }
  return plan;
}

Model result_of(const Model& model, const Plan& plan, const std::string& mask_dir) {
  std::vector<Keep> keeps;
  std::vector<Keep> inside;
  for (const PlanEntry& entry : plan.entries) {
    if (inside_groups(plan, entry)) {
      inside.push_back(numbered_inside(plan, entry));
    } else {
      keeps.push_back(entry.keep);
    }
  }
  Model cut = shrink(plan.sums.empty() ? model : with_layer_sums(model, plan.sums), keeps);
  if (!inside.empty()) cut = shrink(cut, inside);
  cut.set_precision(model.precision());
  if (!plan.mask) return cut;
  PRUNUS_CHECK(std::filesystem::is_directory(mask_dir), NotFound, mask_dir,
               ": no such folder; the plan has zeros, whose masks stand in masks/ beside it");
  PRUNUS_CHECK(sha256_of_masks(cut, mask_files(cut, mask_dir)) == plan.mask->sha256, Corrupt,
               mask_dir, ": these are not the masks that the plan was made with");
  return masked(cut, mask_dir);
}

void check_plan(const Plan& plan, const Model& model) {
  const std::vector<GroupSet> sets = find_groups(model);
  std::set<std::pair<int, AxisLabel>> seen;
  for (const PlanEntry& entry : plan.entries) {
    PRUNUS_CHECK(seen.insert({entry.keep.layer, entry.keep.label}).second, InvalidArgument,
                 "the plan names layer ", entry.keep.layer, " axis ", axis_name(entry.keep.label),
                 " twice");
    if (numbers_layers(entry.keep.label)) {
      PRUNUS_CHECK(entry.units == model.layer_count(), InvalidArgument,
                   entry.keep.label == AxisLabel::Layer ? "layers" : axis_name(entry.keep.label),
                   ": the plan expects ", entry.units, ", the model has ", model.layer_count(),
                   "; the plan was made for another model");
      continue;
    }
    const auto same = [&](const GroupSet& set) {
      return set.label == entry.keep.label && set.layer == entry.keep.layer;
    };
    const auto set = std::find_if(sets.begin(), sets.end(), same);
    PRUNUS_CHECK(set != sets.end(), InvalidArgument, "the plan names layer ", entry.keep.layer,
                 " axis ", axis_name(entry.keep.label), ", which the model does not have");
    PRUNUS_CHECK(set->units == entry.units, InvalidArgument, set->name(), ": the plan expects ",
                 entry.units, " units, the model has ", set->units,
                 "; the plan was made for another model");
  }
}

}  // namespace prunus
