#include "prunus/pipeline/prune.h"

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/score.h"

namespace prunus {
namespace {

LayerRange checked_range(const PruneOptions& options, int64_t layers) {
  const LayerRange range = options.layers.value_or(LayerRange{0, layers});
  PRUNUS_CHECK(range.begin >= 0 && range.begin < range.end && range.end <= layers, InvalidArgument,
               "--layers ", range.begin, ":", range.end, " is not within 0:", layers,
               " (half-open: the end is not included)");
  return range;
}

// Feed-forward channels and KV groups of the layers in range: what block-wise pruning removes.
std::vector<GroupSet> block_wise_sets(const Model& model, LayerRange range) {
  std::vector<GroupSet> sets;
  for (GroupSet& set : find_groups(model)) {
    const bool kind = set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup;
    if (kind && range.contains(set.layer)) sets.push_back(std::move(set));
  }
  return sets;
}

void warn_where_nothing_goes(const std::vector<ScoredSet>& sets,
                             const std::vector<int64_t>& removed, double ratio) {
  for (size_t i = 0; ratio > 0 && i < sets.size(); ++i) {
    if (removed[i] > 0) continue;
    log_warning(c10::str(sets[i].set.name(), ": ratio ", ratio, " of ", sets[i].set.units,
                         " units is less than one; nothing is removed there (and in sets alike)"));
    return;
  }
}

}  // namespace

bool needs_calibration(const PruneOptions& options) {
  const Needs needs = criterion_of(find_method(options.method), options.taylor).needs;
  return needs == Needs::Saliency || needs == Needs::Gradient;
}

PlanResult make_plan(const Model& model, const std::vector<TokenBatch>& batches,
                     const PruneOptions& options) {
  PRUNUS_CHECK(options.ratio >= 0 && options.ratio < 1, InvalidArgument, "--ratio ", options.ratio,
               " is not in [0, 1)");
  const Method& method = find_method(options.method);
  const Criterion& criterion = criterion_of(method, options.taylor);
  const LayerRange range = checked_range(options, model.layer_count());
  const std::vector<GroupSet> sets = block_wise_sets(model, range);
  const Scores scores =
      score_groups(model, sets, criterion, batches, range, {options.seed, options.device});
  const std::vector<int64_t> removed = budget_of(method).remove(scores.sets, options.ratio);
  warn_where_nothing_goes(scores.sets, removed, options.ratio);
  PlanResult result;
  result.plan.method = c10::str(method.name, ", ", criterion.name, ", ratio ", options.ratio,
                                ", layers ", range.begin, ":", range.end, ", seed ", options.seed);
  result.plan.entries = rank_and_keep(scores.sets, removed);
  result.calibration_loss = scores.loss;
  return result;
}

}  // namespace prunus
