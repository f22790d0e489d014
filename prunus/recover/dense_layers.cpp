#include "prunus/recover/dense_layers.h"

#include <filesystem>
#include <numeric>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/pipeline/plan.h"

namespace prunus {

std::vector<int64_t> dense_layers(const std::string& model_dir, const Model& model,
                                  const Model& teacher) {
  const std::string path = model_dir + "/plan.json";
  if (std::filesystem::exists(path)) {
    const Plan plan = plan_from_json(read_json(path), path);
    for (const PlanEntry& entry : plan.entries) {
      if (entry.keep.label != AxisLabel::Layer) continue;
      const bool fits = entry.units == teacher.layer_count() &&
                        static_cast<int64_t>(entry.keep.units.size()) == model.layer_count();
      PRUNUS_CHECK(fits, InvalidArgument, path, ": keeps ", entry.keep.units.size(), " of ",
                   entry.units, " layers, but the model has ", model.layer_count(),
                   " and the teacher ", teacher.layer_count(),
                   "; is --teacher the model it was pruned from?");
      return entry.keep.units;
    }
  }
  PRUNUS_CHECK(model.layer_count() == teacher.layer_count(), InvalidArgument, model_dir, ": has ",
               model.layer_count(), " layers, the teacher ", teacher.layer_count(),
               ", and no plan.json here says which of them were kept");
  std::vector<int64_t> layers(static_cast<size_t>(model.layer_count()));
  std::iota(layers.begin(), layers.end(), int64_t{0});
  return layers;
}

std::vector<Seam> seams_of(const std::vector<int64_t>& layers, int64_t teacher_layers) {
  std::vector<Seam> seams;
  for (size_t i = 0; i < layers.size(); ++i) {
    const int64_t next = i + 1 < layers.size() ? layers[i + 1] : teacher_layers;
    if (next > layers[i] + 1) seams.push_back({static_cast<int64_t>(i), next - 1});
  }
  return seams;
}

}  // namespace prunus
