#include "prunus/pipeline/two_stage.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/removal.h"

namespace prunus {
namespace {

constexpr int64_t kMeasuredTokens = 2048;  // one sequence of the paper's
constexpr double kBalance = 1.5;           // its α

// The recipe of the first stage: so much of every feed-forward part.
PruneRecipe uniform_recipe(const PruneRecipe& recipe, double ratio) {
  PruneRecipe uniform = recipe;
  uniform.budget = &find_budget("uniform");
  uniform.target_params = std::nullopt;
  uniform.ffn_ratio = ratio;
  return uniform;
}

std::vector<GroupSet> feed_forward_sets(const Model& model, const PruneRecipe& recipe) {
  std::vector<GroupSet> sets = select_sets(model, uniform_recipe(recipe, 0));
  std::erase_if(sets, [](const GroupSet& set) {
    return set.label != AxisLabel::Ffn && set.label != AxisLabel::SharedFfn;
  });
  return sets;
}

// Layers of the recipe that have an attention part.
std::vector<int64_t> attention_layers(const Model& model, const PruneRecipe& recipe) {
  std::vector<int64_t> layers = layers_with(model, SubLayer::Attention);
  std::erase_if(layers, [&](int64_t layer) { return !recipe.attn_layers.contains(layer); });
  return layers;
}

class TwoStagePlanner {
 public:
  TwoStagePlanner(const Model& model, const PlanContext& context, const PruneRecipe& recipe)
      : model_(model), context_(context), recipe_(recipe), stages_(stages_of(model, recipe)) {}

  PlanResult run() {
    result_.ratio = recipe_.ratio;
    log_info(c10::str("two stages: ", stages_.channels,
                      " of the channels of every feed-forward "
                      "part go, then ",
                      stages_.attention_parts, " attention parts"));
    for (int64_t step = 0; step <= stages_.attention_parts; ++step) {
      if (context_.finished) {
        if (auto earlier = context_.finished(step)) {
          result_ = std::move(*earlier);
          continue;
        }
      }
      if (step == 0) {
        narrow();
      } else {
        drop_one();
      }
      if (context_.finish) context_.finish(step, result_);
    }
    result_.plan.method = c10::str(
        recipe_.name, ", ", recipe_.criterion->name, ", budget two_stage, ratio ", recipe_.ratio,
        ", ", stages_.attention_parts, " attention parts, seed ", recipe_.seed);
    if (recipe_.solver != nullptr) {
      result_.plan.method += c10::str(", solver ", recipe_.solver->name);
    }
    return result_;
  }

 private:
  std::vector<TokenBatch> calibration() const {
    PRUNUS_CHECK(context_.calibration, InvalidArgument,
                 "--budget two_stage measures on text: pass --calib FILE");
    return context_.calibration(0);
  }

  void narrow() {
    std::unique_ptr<StreamStore> store;
    if (context_.store) store = context_.store(0);
    const PruneRecipe uniform = uniform_recipe(recipe_, stages_.channels);
    const std::vector<GroupSet> sets = feed_forward_sets(model_, recipe_);
    check_choice(sets, recipe_);
    const std::vector<int64_t> counts = allocate(unscored(sets), uniform, 1.0);
    const Scores scores =
        score_groups(model_, sets, *recipe_.criterion, calibration(), recipe_.ffn_layers,
                     {.seed = recipe_.seed,
                      .device = recipe_.device,
                      .reduction = parse_reduction(recipe_.reduction),
                      .members = recipe_.members,
                      .conventions = recipe_.conventions,
                      .store = store.get(),
                      .removed = counts});
    result_.calibration_loss = scores.loss;
    for (size_t i = 0; i < sets.size(); ++i) {
      const ScoredSet& one = scores.sets[i];
      result_.plan.entries.push_back(
          {{one.set.label, one.set.layer, one.keep_best(counts[i])}, one.set.units, one.scores});
    }
    std::vector<int64_t> layers(static_cast<size_t>(model_.layer_count()));
    std::iota(layers.begin(), layers.end(), int64_t{0});
    const size_t count = layers.size();
    result_.plan.entries.push_back({{AxisLabel::AttentionPart, -1, std::move(layers)},
                                    static_cast<int64_t>(count),
                                    std::vector<double>(count)});
  }

  void drop_one() {
    const Model left = shrink(model_, result_.plan.keeps());
    std::vector<Removal> units;
    for (const int64_t layer : attention_layers(left, recipe_)) {
      units.push_back({static_cast<int>(layer), SubLayer::Attention});
    }
    const RemovalLosses losses =
        losses_without(left, units, first_tokens(calibration(), kMeasuredTokens),
                       {.device = recipe_.device, .ram_bytes = context_.ram_bytes});
    PlanEntry& parts = result_.plan.entries.back();
    for (size_t i = 0; i < units.size(); ++i) {
      parts.scores[static_cast<size_t>(units[i].layer)] = losses.without[i];
    }
    const auto least = std::min_element(losses.without.begin(), losses.without.end());
    const int layer = units[static_cast<size_t>(least - losses.without.begin())].layer;
    std::erase(parts.keep.units, int64_t{layer});
    log_info(c10::str("attention part ", layer, " goes: a loss of ", *least,
                      " nats a token without it, ", losses.whole, " with it"));
  }

  const Model& model_;
  const PlanContext& context_;
  const PruneRecipe& recipe_;
  TwoStages stages_;
  PlanResult result_;
};

}  // namespace

TwoStages stages_of(const Model& model, const PruneRecipe& recipe) {
  const std::vector<GroupSet> sets = feed_forward_sets(model, recipe);
  const auto parts = static_cast<int64_t>(attention_layers(model, recipe).size());
  PRUNUS_CHECK(
      parts > 0 && !sets.empty(), InvalidArgument,
      "--budget two_stage: the layers to prune have no attention, or no feed-forward part");
  int64_t channels = 0;
  for (const GroupSet& set : sets) channels += set.units * set.parameters_per_unit();
  const auto attention = static_cast<double>(part_sets(model)[0].parameters_per_unit());
  const auto feed_forward = static_cast<double>(channels) /
                            static_cast<double>(recipe.ffn_layers.end - recipe.ffn_layers.begin);
  const double all = attention * static_cast<double>(parts) + static_cast<double>(channels);
  const double gone = recipe.target_params
                          ? static_cast<double>(model.parameters() - *recipe.target_params)
                          : recipe.ratio * all;
  TwoStages stages;
  if (gone <= 0) return stages;
  const double share = std::min(1.0, gone / all);
  const double wanted =
      static_cast<double>(parts) * std::pow(share, feed_forward / attention / kBalance);
  const auto least = static_cast<int64_t>(layers_with(model, SubLayer::Attention).size()) - 1;
  stages.attention_parts = std::min({static_cast<int64_t>(std::llround(wanted)), parts, least,
                                     static_cast<int64_t>(gone / attention)});
  stages.channels = (gone - static_cast<double>(stages.attention_parts) * attention) /
                    static_cast<double>(channels);
  PRUNUS_CHECK(stages.channels < 1, InvalidArgument, "--budget two_stage: with ",
               stages.attention_parts, " of ", parts,
               " attention parts gone, feed-forward parts would lose all their channels; lower "
               "--ratio, raise --target-params, or widen --layers");
  return stages;
}

PlanResult two_stage_plan(const Model& model, const PlanContext& context,
                          const PruneRecipe& recipe) {
  return TwoStagePlanner(model, context, recipe).run();
}

}  // namespace prunus
