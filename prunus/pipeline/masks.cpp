#include "prunus/pipeline/masks.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/gradient_collector.h"
#include "prunus/calib/mean_loss.h"
#include "prunus/model/mixture.h"
#include "prunus/pipeline/zero_allocation.h"

namespace prunus {
namespace {

// Chooses the masks of the layer under way.
class Chooser {
 public:
  Chooser(const Model& model, const PruneRecipe& recipe, const LayerFiles& files,
          const std::vector<PlanZeros>& zeros)
      : model_(model),
        recipe_(recipe),
        files_(files),
        zeros_(zero_counter(model, zeros, recipe.pattern, recipe.sparsity)) {}

  bool wants(int layer, Role role) const {
    if (!recipe_.attn_layers.contains(layer)) return false;
    const std::vector<Role> roles = maskable_roles(model_, layer);
    return std::find(roles.begin(), roles.end(), role) != roles.end();
  }

  // `stats` of the whole weight. Returns what stays, bool [out, in] on the CPU.
  at::Tensor choose(int layer, Role role, const WeightStats& stats) {
    const std::vector<ExpertPart> experts = experts_of(model_.config(), layer, role, stats.weight);
    std::vector<at::Tensor> kept;
    for (const ExpertPart& expert : experts) {
      kept.push_back(kept_of(layer, stats.of_expert(expert)));
    }
    if (experts.empty()) kept.push_back(kept_of(layer, stats));
    const at::Tensor whole = kept.size() == 1 ? kept[0] : at::cat(kept, experts[0].dim);
    chosen_.push_back({&model_.tensor(role, layer), pack_mask(whole)});
    return whole;
  }

  void finish(int layer) {
    files_.keep(layer, chosen_);
    chosen_.clear();
  }

 private:
  at::Tensor kept_of(int layer, const WeightStats& stats) const {
    const at::Tensor scores = recipe_.criterion->element(stats);
    return kept_without(recipe_.pattern, scores,
                        zeros_(layer, stats.role, scores.size(0), scores.size(1)));
  }

  const Model& model_;
  const PruneRecipe& recipe_;
  const LayerFiles& files_;
  std::function<int64_t(int, Role, int64_t, int64_t)> zeros_;
  std::vector<OverlayTensor> chosen_;
};

// By the weights alone.
void choose_by_weights(const Model& model, const PruneRecipe& recipe, Chooser& chooser) {
  const LayerRange range = recipe.attn_layers;
  Progress progress("masks: layers", range.end - range.begin);
  const auto act = [&](int layer, BlockWeights& weights) {
    for (const Role role : maskable_roles(model, layer)) {
      WeightStats stats;
      stats.weight = weights[role];
      stats.role = role;
      chooser.choose(layer, role, stats);
      check_interrupted();
    }
    chooser.finish(layer);
    progress.step();
  };
  for_each_layer(model, recipe.device, range, LayerOrder::FirstToLast, act);
}

// By what enters the products of each layer, behind the layers masked before it.
class MaskingVisitor : public LayerVisitor {
 public:
  MaskingVisitor(const Model& model, const PruneRecipe& recipe, Chooser& chooser,
                 StreamStore& store)
      : model_(model),
        recipe_(recipe),
        chooser_(chooser),
        store_(store),
        statistics_([this](int layer, Role role) { return wanted(layer, role); },
                    [this](int, const LayerStatistics& gathered) { gathered_ = gathered; }) {}

  Edits edits(int layer) const override {
    return recipe_.attn_layers.contains(layer) ? Edits::Layer : Edits::None;
  }
  Collector* collector(int layer) override {
    return recipe_.attn_layers.contains(layer) ? &statistics_ : nullptr;
  }
  void visit(int layer, Stage /*stage*/, BlockWeights& weights) override {
    if (!recipe_.attn_layers.contains(layer)) return;
    for (const Role role : maskable_roles(model_, layer)) {
      WeightStats stats;
      stats.weight = weights[role];
      stats.role = role;
      stats.layer = &gathered_;
      const at::Tensor kept = chooser_.choose(layer, role, stats).to(stats.weight.device());
      weights[role] = stats.weight.masked_fill(kept.logical_not(), 0);
    }
    chooser_.finish(layer);
    gathered_ = {};
  }
  void after(int layer, const std::vector<at::Tensor>& hidden) override {
    store_.record(c10::str("hidden-", layer + 1), hidden);
    if (store_.resumable()) store_.drop(c10::str("hidden-", layer));
  }

 private:
  std::vector<const Statistic*> wanted(int layer, Role role) const {
    std::vector<const Statistic*> wanted;
    for (const Statistic* one : recipe_.criterion->needs.statistics) {
      const bool shown = one != nullptr && one->of == StatisticOf::Input;
      if (shown && chooser_.wants(layer, role)) wanted.push_back(one);
    }
    return wanted;
  }

  const Model& model_;
  const PruneRecipe& recipe_;
  Chooser& chooser_;
  StreamStore& store_;
  StatisticsCollector statistics_;
  LayerStatistics gathered_;
};

double choose_forward(const Model& model, const PruneRecipe& recipe,
                      const std::vector<TokenBatch>& batches, Chooser& chooser,
                      StreamStore& store) {
  const BlockStream stream(model, recipe.device);
  const int64_t done = store.last("hidden-").value_or(0);
  std::vector<at::Tensor> hidden =
      done > 0 ? store.get(c10::str("hidden-", done), at::kCPU) : stream.embed(batches);
  MaskingVisitor visitor(model, recipe, chooser, store);
  stream.walk(hidden, {done, model.layer_count()}, visitor, "masks, forward");
  return mean_loss(model, recipe.device, batches, hidden);
}

// Chooses a layer's masks when the backward pass has left it.
class MaskingCollector : public GradientCollector {
 public:
  MaskingCollector(Chooser& chooser, const PruneRecipe& recipe)
      : GradientCollector(
            recipe.criterion->needs,
            [&chooser](int layer, Role role) { return chooser.wants(layer, role); },
            [&chooser](const LinearSite& site, const WeightStats& stats) {
              chooser.choose(site.layer, site.role, stats);
            },
            Biases::Ignored),
        chooser_(chooser),
        range_(recipe.attn_layers) {}

  void on_layer_done(int layer) override {
    if (range_.contains(layer)) chooser_.finish(layer);
  }

 private:
  Chooser& chooser_;
  LayerRange range_;
};

}  // namespace

double choose_masks(const Model& model, const PruneRecipe& recipe,
                    const std::vector<TokenBatch>& batches, const LayerFiles& files,
                    StreamStore* store, const std::vector<PlanZeros>& zeros) {
  const at::NoGradGuard no_grad;
  const Needs& needs = recipe.criterion->needs;
  PRUNUS_CHECK(!needs.calibration() || !batches.empty(), InvalidArgument, "criterion ",
               recipe.criterion->name, " needs calibration text; pass --calib FILE");
  Chooser chooser(model, recipe, files, zeros);
  StreamStore in_ram(StreamStore::in_ram());
  StreamStore& states = store != nullptr ? *store : in_ram;
  if (needs.in(Pass::Backward)) {
    MaskingCollector collector(chooser, recipe);
    return BlockStream(model, recipe.device)
        .backward(batches, recipe.attn_layers, collector, states, recipe.objective, recipe.seed);
  }
  if (needs.in(Pass::Forward)) return choose_forward(model, recipe, batches, chooser, states);
  choose_by_weights(model, recipe, chooser);
  return 0;
}

MaskSummary count_masks(const Model& model, const LayerFiles& files) {
  MaskSummary summary;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    for (const OverlayTensor& one : files.restore(layer)) {
      const at::Tensor kept = unpack_mask(one.value, one.tensor->shape.at(1));
      summary.weights += kept.numel();
      summary.zeros += kept.numel() - kept.sum().item<int64_t>();
    }
  }
  return summary;
}

}  // namespace prunus
