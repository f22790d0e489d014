#include <filesystem>
#include <numeric>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/calib/stream.h"
#include "prunus/model/head.h"
#include "prunus/pipeline/plan.h"
#include "prunus/recover/loss_head.h"
#include "prunus/recover/recover.h"

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

double mean_nll(const Model& model, const std::vector<TrainRow>& rows, at::Device device) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> numbers(rows.size());
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  constexpr int64_t kRows = 4;
  const std::vector<TrainBatch> batches = make_train_batches(rows, numbers, kRows);
  std::vector<TokenBatch> tokens;
  for (const TrainBatch& batch : batches) tokens.push_back({batch.ids});
  const BlockStream stream(model, device);
  std::vector<at::Tensor> hidden = stream.embed(tokens);
  stream.forward(hidden);
  const Head head(model, device);
  double sum = 0;
  int64_t targets = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const ScoredPlaces scored = scored_places(batches[i], device);
    const at::Tensor states = hidden[i].to(device).flatten(0, 1).index_select(0, scored.places);
    sum += head.token_nll(states, scored.targets).sum(at::kDouble).item<double>();
    targets += batches[i].targets;
  }
  return sum / static_cast<double>(targets);
}

}  // namespace prunus
