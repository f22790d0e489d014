#include "prunus/pipeline/collapse.h"

#include <algorithm>
#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/model/final_norm.h"

namespace prunus {
namespace {

constexpr int64_t kSpan = 4;      // layers that become one, at most (the paper's C)
constexpr int64_t kInterval = 2;  // its I
constexpr int kHalvings = 10;

using Layers = std::vector<LayerSum>;  // those that are left, in order

Layers dense_layers_of(const Model& model) {
  Layers layers;
  for (int64_t i = 0; i < model.layer_count(); ++i) layers.push_back({i, {{i, 1}}});
  return layers;
}

// Layer `at` and the `count` behind it become one.
Layers made_one(const Layers& layers, size_t at, size_t count) {
  Layers result = layers;
  LayerSum& sum = result[at];
  for (auto& [layer, factor] : sum.factors) factor *= 1 - static_cast<int64_t>(count);
  for (size_t k = 1; k <= count; ++k) {
    for (const auto& [layer, factor] : layers[at + k].factors) sum.factors[layer] += factor;
  }
  std::erase_if(sum.factors, [](const auto& one) { return one.second == 0; });
  const auto first = result.begin() + static_cast<std::ptrdiff_t>(at) + 1;
  result.erase(first, first + static_cast<std::ptrdiff_t>(count));
  return result;
}

bool is_sum(const LayerSum& one) {
  return one.factors.size() != 1 || one.factors.begin()->first != one.layer ||
         one.factors.begin()->second != 1;
}

Plan plan_of(const Layers& layers, int64_t count) {
  Plan plan;
  PlanEntry entry{.keep = {AxisLabel::Layer, -1, {}}, .units = count, .scores = {}};
  for (const LayerSum& one : layers) {
    entry.keep.units.push_back(one.layer);
    if (is_sum(one)) plan.sums.push_back(one);
  }
  plan.entries.push_back(std::move(entry));
  return plan;
}

class Collapse {
 public:
  Collapse(const Model& model, const std::vector<TokenBatch>& batches, at::Device device)
      : model_(model), batches_(batches), device_(device), wanted_(last_states(model)) {}

  // What is left where layers become one above a threshold, until `removed` are gone.
  Layers at(double threshold, int64_t removed) {
    Layers layers = dense_layers_of(model_);
    int64_t to_go = removed;
    for (int64_t at = std::max<int64_t>(0, model_.layer_count() - kSpan); at >= 0 && to_go > 0;) {
      const auto left = static_cast<int64_t>(layers.size());
      const int64_t count = std::min({kSpan - 1, left - at - 1, to_go});
      Layers fewer;
      if (count > 0) fewer = made_one(layers, static_cast<size_t>(at), static_cast<size_t>(count));
      if (count <= 0 || similarity(fewer) <= threshold) {
        --at;
        continue;
      }
      layers = std::move(fewer);
      to_go -= count;
      at -= kInterval;
    }
    return layers;
  }

 private:
  // Normalised, one vector for each window.
  std::vector<at::Tensor> last_states(const Model& model) const {
    const BlockStream stream(model, device_);
    std::vector<at::Tensor> hidden = stream.embed(batches_);
    stream.forward(hidden);
    const FinalNorm norm(model, device_);
    for (at::Tensor& one : hidden) one = to_host(norm(one.to(device_)).flatten(1));
    return hidden;
  }

  double similarity(const Layers& layers) {
    const Plan plan = plan_of(layers, model_.layer_count());
    std::string key = to_json(plan).dump();
    const auto known = known_.find(key);
    if (known != known_.end()) return known->second;
    const std::vector<at::Tensor> got = last_states(result_of(model_, plan, {}));
    double sum = 0;
    int64_t windows = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const at::Tensor a = got[i].to(at::kDouble);
      const at::Tensor b = wanted_[i].to(at::kDouble);
      sum += at::cosine_similarity(a, b, 1).sum().item<double>();
      windows += a.size(0);
    }
    const double mean = sum / static_cast<double>(windows);
    PRUNUS_CHECK(std::isfinite(mean), Numeric,
                 "the last hidden states are not finite; the model overflows on this text, or its "
                 "weights are damaged");
    known_.emplace(std::move(key), mean);
    return mean;
  }

  const Model& model_;
  const std::vector<TokenBatch>& batches_;
  at::Device device_;
  std::vector<at::Tensor> wanted_;
  std::map<std::string, double> known_;
};

// Whether layers can be added at all.
void check_neighbours(const Model& model) {
  Layers pairs;
  for (int64_t i = 1; i < model.layer_count(); ++i) pairs.push_back({i - 1, {{i - 1, 1}, {i, 0}}});
  with_layer_sums(model, pairs);
}

// Layers to remove, and the ratio that says so.
std::pair<int64_t, double> layers_to_go(const Model& model, const PruneRecipe& recipe) {
  const std::vector<ScoredSet> equal = unscored({layer_set(model)});
  PruneRecipe solved = recipe;
  if (const auto target = target_of(model, {layer_set(model)}, recipe)) {
    solved.ratio = solve_ratio(*target, equal, recipe);
  }
  return {allocate(equal, solved, 1.0, true)[0], solved.ratio};
}

}  // namespace

PlanResult collapse_plan(const Model& model, const PlanContext& context,
                         const PruneRecipe& recipe) {
  if (context.finished) {
    if (auto earlier = context.finished(0)) return *earlier;
  }
  const at::NoGradGuard no_grad;
  PRUNUS_CHECK(context.calibration, InvalidArgument, "--method ", recipe.name,
               " compares models on text: pass --calib FILE");
  const auto [removed, ratio] = layers_to_go(model, recipe);
  const int64_t count = model.layer_count();
  Layers layers = dense_layers_of(model);
  check_neighbours(model);
  if (removed == 0)
    log_warning(c10::str("ratio ", ratio, " of ", count, " layers is less than one"));
  const std::vector<TokenBatch> batches = context.calibration(0);
  Collapse collapse(model, batches, recipe.device);
  double low = -1;
  double high = 1;
  const auto left_at = [&](double threshold) {
    Layers left = collapse.at(threshold, removed);
    log_info(c10::str("similarity above ", threshold, ": ",
                      count - static_cast<int64_t>(left.size()), " of ", removed, " layers go"));
    return left;
  };
  const auto enough = [&](const Layers& left) {
    return count - static_cast<int64_t>(left.size()) == removed;
  };
  if (removed > 0) layers = left_at(low);
  PRUNUS_CHECK(enough(layers), InvalidArgument, "--method ", recipe.name, " can take ",
               count - static_cast<int64_t>(layers.size()), " of ", count, " layers, not ", removed,
               "; lower --ratio, or raise the target");
  for (int i = 0; i < kHalvings && removed > 0; ++i) {
    const double middle = (low + high) / 2;
    Layers left = left_at(middle);
    const bool all = enough(left);
    if (all) layers = std::move(left);
    (all ? low : high) = middle;
  }
  PlanResult result{.plan = plan_of(layers, count), .ratio = ratio};
  result.plan.method =
      c10::str(recipe.name, ", ratio ", ratio, ", similarity above ", low, ", seed ", recipe.seed);
  if (recipe.solver != nullptr) {
    result.plan.method += c10::str(", solver ", recipe.solver->name);
  }
  if (context.finish) context.finish(0, result);
  return result;
}

}  // namespace prunus
