#include "prunus/pipeline/prune.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"
#include "prunus/pipeline/collapse.h"
#include "prunus/pipeline/masks.h"
#include "prunus/pipeline/rotate_plan.h"
#include "prunus/pipeline/score.h"
#include "prunus/pipeline/search.h"
#include "prunus/pipeline/sparse_plan.h"
#include "prunus/pipeline/two_stage.h"
#include "prunus/pipeline/zero_allocation.h"

namespace prunus {
namespace {

std::vector<int64_t> counting(int64_t count) {
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  return numbers;
}

Plan layer_plan(const PruneRecipe& recipe, int64_t layers) {
  std::vector<int64_t> kept = counting(layers);
  if (recipe.keep_first) {
    PRUNUS_CHECK(*recipe.keep_first >= 1 && *recipe.keep_first <= layers, InvalidArgument,
                 "--keep-first ", *recipe.keep_first, ": the model has ", layers, " layers");
    kept.resize(static_cast<size_t>(*recipe.keep_first));
  }
  for (const int64_t layer : recipe.drop_layers) {
    PRUNUS_CHECK(layer >= 0 && layer < layers, InvalidArgument, "--drop-layers names layer ", layer,
                 "; the model has layers 0 to ", layers - 1);
    std::erase(kept, layer);
  }
  PRUNUS_CHECK(!kept.empty(), InvalidArgument, "--drop-layers would drop all ", layers, " layers");
  Plan plan;
  plan.method = recipe.keep_first ? c10::str("layer-wise, the first ", *recipe.keep_first)
                                  : c10::str("layer-wise, ", recipe.drop_layers.size(), " dropped");
  plan.entries.push_back({{AxisLabel::Layer, -1, kept}, layers, {}});
  return plan;
}

void warn_where_nothing_goes(const std::vector<ScoredSet>& sets,
                             const std::vector<int64_t>& removed, const PruneRecipe& recipe) {
  // Where nothing goes anywhere, another warning says so.
  const bool some = std::any_of(sets.begin(), sets.end(), [&](const ScoredSet& one) {
    return removed[static_cast<size_t>(&one - sets.data())] > 0 ||
           one.set.units < one.units_at_start();
  });
  if (!some) return;
  for (size_t i = 0; !recipe.budget->ranks_sets && i < sets.size(); ++i) {
    const GroupSet& set = sets[i].set;
    const double ratio = ratio_of(set, recipe);
    const bool lost_earlier = set.units < sets[i].units_at_start();
    if (removed[i] > 0 || lost_earlier || ratio <= 0) continue;
    log_warning(
        c10::str(set.name(), ": ratio ", ratio, " of ", set.units_per_share(),
                 " units removes nothing there (less than one unit, or rounded to none), nor "
                 "in sets alike"));
    return;
  }
}

// Zeros instead of cuts.
PlanResult mask_plan(const Model& model, const PlanContext& context, const PruneRecipe& recipe) {
  if (context.finished) {
    if (auto earlier = context.finished(0)) return *earlier;
  }
  TORCH_INTERNAL_ASSERT(!context.mask_dir.empty());
  std::error_code error;
  std::filesystem::create_directories(context.mask_dir, error);
  PRUNUS_CHECK(!error, Io, context.mask_dir, ": cannot create directory: ", error.message());
  std::vector<TokenBatch> batches;
  if (needs_calibration(recipe) && context.calibration) batches = context.calibration(0);
  std::unique_ptr<StreamStore> store;
  if (context.store) store = context.store(0);
  Model exact = model;
  exact.set_precision(recipe.precision);
  const LayerFiles files = mask_files(exact, context.mask_dir);
  const std::vector<PlanZeros> zeros =
      allocate_zeros({.model = exact, .recipe = recipe, .calibration = batches});
  const double loss = choose_masks(exact, recipe, batches, files, store.get(), zeros);
  const LayerRange range = recipe.attn_layers;
  PlanResult result{.plan = {}, .calibration_loss = loss};
  result.plan.method = c10::str(recipe.name, ", ", recipe.criterion->name, ", zeros by ",
                                pattern_name(recipe.pattern), ", sparsity ", recipe.sparsity,
                                ", layers ", range.begin, ":", range.end, ", seed ", recipe.seed);
  result.plan.mask = {recipe.pattern, recipe.sparsity, sha256_of_masks(exact, files)};
  if (context.finish) context.finish(0, result);
  return result;
}

// One iterative run over a model: what is kept so far, and the next step of it.
class Planner {
 public:
  Planner(const Model& model, const PlanContext& context, const PruneRecipe& recipe)
      : model_(model), context_(context), recipe_(recipe), criterion_(*recipe.criterion) {}

  PlanResult run() {
    announce();
    for (int64_t step = 0; goes_on(step); ++step) {
      if (context_.finished) {
        if (auto earlier = context_.finished(step)) {
          result_ = std::move(*earlier);
          continue;
        }
      }
      take(step);
      if (context_.finish) context_.finish(step, result_);
    }
    result_.plan.method = description();
    return result_;
  }

 private:
  bool one_by_one() const { return recipe_.method->one_by_one; }

  // Whether there is another step. Where units go one by one, parts of different sizes go until the
  // target is met; all else by number.
  bool goes_on(int64_t step) {
    if (!one_by_one()) return step < recipe_.steps;
    if (!recipe_.has_target() || recipe_.structure == Structure::Layer) return step < units_to_go_;
    const Model left = shrink(model_, result_.plan.keeps());
    const bool met = recipe_.target_params ? left.parameters() <= *recipe_.target_params
                                           : left.bytes() <= *recipe_.target_bytes;
    if (met) set_ratio(static_cast<double>(step) / static_cast<double>(units_));
    return !met;
  }

  // The ratio of a local ranking does not depend on the scores: solve it, and say what will be
  // left. Where units go one by one, say whether the target can be met.
  void announce() {
    const std::vector<GroupSet> sets = select_sets(model_, recipe_);
    check_choice(sets, recipe_);
    warn_of_rounding(sets, recipe_);
    result_.ratio = recipe_.ratio;
    const bool ranked = recipe_.budget->ranks_sets;
    if (ranked && !one_by_one()) {
      if (recipe_.has_target()) {
        log_info("global ranking: the ratio is solved as soon as the scores are known");
      }
      return;
    }
    const std::vector<ScoredSet> equal = unscored(sets);
    if (const auto target = target_of(model_, sets, recipe_)) {
      const double ratio = solve_ratio(*target, equal, recipe_);
      if (!ranked) set_ratio(ratio);
    }
    const std::vector<int64_t> counts = allocate(equal, recipe_, 1.0, true);
    count_units(sets, counts);
    if (!ranked) say_what_is_left(model_, equal, counts);
  }

  void count_units(const std::vector<GroupSet>& sets, const std::vector<int64_t>& counts) {
    units_to_go_ = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    for (const GroupSet& set : sets) units_ += set.units;
    if (one_by_one() && units_to_go_ == 0 && recipe_.ratio > 0) {
      log_warning(c10::str("ratio ", recipe_.ratio, " of ", units_,
                           " units is less than one: nothing is removed"));
    }
    if (recipe_.structure != Structure::Layer) return;
    const int64_t kept = criterion_.first_kept + criterion_.last_kept;
    PRUNUS_CHECK(units_to_go_ == 0 || units_to_go_ <= units_ - kept, InvalidArgument, "criterion ",
                 criterion_.name, " keeps the first ", criterion_.first_kept, " and the last ",
                 criterion_.last_kept, " of ", units_, " layers, but ", units_to_go_,
                 " are to go; lower --ratio, or raise the target");
  }

  void take(int64_t step) {
    Model left = shrink(model_, result_.plan.keeps());
    left.set_precision(recipe_.precision);
    const std::vector<GroupSet> sets = select_sets(left, recipe_);
    std::vector<ScoredSet> scored = score(left, sets, step);
    for (ScoredSet& one : scored) one.initial_units = initial_units(one.set);
    const double fraction = fraction_at(step);
    std::vector<int64_t> counts;
    if (one_by_one()) {
      counts = the_least(left, scored);
    } else if (recipe_.budget->ranks_sets && recipe_.has_target()) {
      counts = solve_global(left, sets, scored, fraction);
    } else {
      counts = allocate(scored, recipe_, fraction);
    }
    const bool last = !one_by_one() && step + 1 == recipe_.steps;
    if (last) warn_where_nothing_goes(scored, counts, recipe_);
    for (size_t i = 0; i < scored.size(); ++i) add(left, scored[i], counts[i]);
  }

  double fraction_at(int64_t step) const {
    return static_cast<double>(step + 1) / static_cast<double>(recipe_.steps);
  }

  // One unit, of the set with the lowest score. Every set keeps one.
  std::vector<int64_t> the_least(const Model& left, const std::vector<ScoredSet>& sets) {
    double least = std::numeric_limits<double>::infinity();
    size_t from = 0;
    for (size_t i = 0; i < sets.size(); ++i) {
      if (sets[i].set.units < 2) continue;
      const double lowest = *std::min_element(sets[i].scores.begin(), sets[i].scores.end());
      if (lowest < least) from = i;
      least = std::min(least, lowest);
    }
    const std::vector<double>& scores = sets[from].scores;
    const auto at = std::min_element(scores.begin(), scores.end()) - scores.begin();
    const int64_t layer = numbers_of(left, sets[from].set)[static_cast<size_t>(at)];
    log_info(c10::str(sets[from].set.name(), " ", layer, " goes: a loss of ", least,
                      " nats a token without it"));
    std::vector<int64_t> counts(sets.size(), 0);
    counts[from] = 1;
    return counts;
  }

  std::vector<ScoredSet> score(const Model& left, const std::vector<GroupSet>& sets, int64_t step) {
    std::vector<TokenBatch> batches;
    if (criterion_.needs.calibration() && context_.calibration) {
      batches = context_.calibration(one_by_one() ? 0 : step);
    }
    std::unique_ptr<StreamStore> store;
    if (context_.store) store = context_.store(step);
    LayerRange range{left.layer_count(), left.layer_count()};
    for (const GroupSet& set : sets) range.begin = std::min<int64_t>(range.begin, set.layer);
    range.begin = std::max<int64_t>(0, range.begin);
    const uint64_t seed = recipe_.seed + static_cast<uint64_t>(step);
    Scores scores = score_groups(left, sets, criterion_, batches, range,
                                 {.seed = seed,
                                  .objective = recipe_.objective,
                                  .device = recipe_.device,
                                  .reduction = parse_reduction(recipe_.reduction),
                                  .members = recipe_.members,
                                  .conventions = recipe_.conventions,
                                  .deviations = recipe_.normalisation == Normalisation::Standard,
                                  .store = store.get(),
                                  .ram_bytes = context_.ram_bytes,
                                  .run = run_at(sets, step),
                                  .removed = chosen_at(sets, step)});
    if (step == 0) result_.calibration_loss = scores.loss;
    return std::move(scores.sets);
  }

  // How many units of each set go in this step, whatever their scores.
  std::vector<int64_t> counts_at(const std::vector<GroupSet>& sets, int64_t step) {
    std::vector<ScoredSet> equal = unscored(sets);
    for (ScoredSet& one : equal) one.initial_units = initial_units(one.set);
    return allocate(equal, recipe_, fraction_at(step), true);
  }
  // Layers, for a criterion that scores as many at once.
  int64_t run_at(const std::vector<GroupSet>& sets, int64_t step) {
    return criterion_.run == nullptr ? 1 : counts_at(sets, step)[0];
  }
  std::vector<int64_t> chosen_at(const std::vector<GroupSet>& sets, int64_t step) {
    if (!criterion_.chooses) return {};
    return counts_at(sets, step);
  }

  // A step of a global run: its share of what the target wants gone, counted from the start.
  std::vector<int64_t> solve_global(const Model& left, const std::vector<GroupSet>& sets,
                                    const std::vector<ScoredSet>& scored, double fraction) {
    Target target = *target_of(left, sets, recipe_);
    const int64_t start = recipe_.target_params ? model_.parameters() : model_.bytes();
    target.wanted =
        start - static_cast<int64_t>(static_cast<double>(start - target.wanted) * fraction);
    set_ratio(solve_ratio(target, scored, recipe_));
    std::vector<int64_t> counts = allocate(scored, recipe_, 1.0);
    say_what_is_left(left, scored, counts);
    return counts;
  }

  void set_ratio(double ratio) {
    result_.ratio = ratio;
    recipe_.ratio = ratio;
    recipe_.attn_ratio = ratio;
    recipe_.ffn_ratio = ratio;
  }

  // `now`: the model that the counts are to be taken from.
  void say_what_is_left(const Model& now, const std::vector<ScoredSet>& sets,
                        const std::vector<int64_t>& counts) {
    int64_t parameters = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < sets.size(); ++i) {
      const int64_t units = counts[i] * sets[i].set.shares;
      parameters += units * sets[i].set.parameters_per_unit();
      bytes += units * sets[i].set.bytes_per_unit(now.source());
    }
    const int64_t before = model_.parameters();
    const int64_t left = now.parameters() - parameters;
    char share[32];
    std::snprintf(share, sizeof share, "%.1f %%",
                  100.0 * static_cast<double>(left) / static_cast<double>(before));
    log_info(c10::str("ratio ", result_.ratio, " will leave ", human_count(left), " of ",
                      human_count(before), " parameters (", share, "), ",
                      human_bytes(now.bytes() - bytes)));
  }

  PlanEntry* entry_of(const GroupSet& set) {
    for (PlanEntry& entry : result_.plan.entries) {
      if (entry.keep.label == set.label && entry.keep.layer == set.layer) return &entry;
    }
    return nullptr;
  }

  int64_t initial_units(const GroupSet& set) {
    if (const auto part = sub_layer_of(set.label)) {
      return static_cast<int64_t>(layers_with(model_, *part).size());
    }
    const PlanEntry* entry = entry_of(set);
    return entry == nullptr ? set.units : entry->units;
  }

  // What the units of `left` are numbered in the model at the start. Parts go by their layers, none
  // of which goes.
  std::vector<int64_t> numbers_of(const Model& left, const GroupSet& set) {
    if (const auto part = sub_layer_of(set.label)) return layers_with(left, *part);
    const PlanEntry* entry = entry_of(set);
    return entry == nullptr ? counting(set.units) : entry->keep.units;
  }

  // A unit's score is that of its last step.
  void add(const Model& left, const ScoredSet& scored, int64_t removed) {
    const GroupSet& set = scored.set;
    const std::vector<int64_t> numbers = numbers_of(left, set);
    PlanEntry* entry = entry_of(set);
    if (entry == nullptr) {
      const int64_t units = sub_layer_of(set.label) ? left.layer_count() : set.units;
      result_.plan.entries.push_back({{set.label, set.layer, counting(units)},
                                      units,
                                      std::vector<double>(static_cast<size_t>(units))});
      entry = &result_.plan.entries.back();
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      entry->scores[static_cast<size_t>(numbers[i])] = scored.scores[i];
    }
    std::vector<bool> goes(static_cast<size_t>(entry->units));
    for (const int64_t number : numbers) goes[static_cast<size_t>(number)] = true;
    for (const int64_t unit : ranked(scored, numbers).keep_best(removed)) {
      goes[static_cast<size_t>(numbers[static_cast<size_t>(unit)])] = false;
    }
    std::erase_if(entry->keep.units,
                  [&](int64_t number) { return goes[static_cast<size_t>(number)]; });
  }

  // Layers that stay by rule stand above all others.
  ScoredSet ranked(const ScoredSet& scored, const std::vector<int64_t>& numbers) {
    ScoredSet result = scored;
    if (scored.set.label != AxisLabel::Layer) return result;
    const int64_t end = model_.layer_count() - criterion_.last_kept;
    const double most = *std::max_element(scored.scores.begin(), scored.scores.end());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const bool stays = numbers[i] < criterion_.first_kept || numbers[i] >= end;
      if (stays) result.scores[i] = std::nextafter(most, std::numeric_limits<double>::infinity());
    }
    return result;
  }

  // As on the command line: --global is a budget of its own name in both conventions.
  std::string budget_text() const {
    if (recipe_.budget->name == recipe_.conventions->uniform) return "";
    const bool global = recipe_.budget->name == recipe_.conventions->global;
    return global ? ", global" : c10::str(", budget ", recipe_.budget->name);
  }

  std::string description() const {
    std::string text = c10::str(recipe_.name, ", ", criterion_.name, ", ", recipe_.reduction,
                                budget_text(), ", ratio ", result_.ratio);
    if (recipe_.structure == Structure::Channel) {
      text += ", hidden dimension";
    } else if (recipe_.structure == Structure::Expert) {
      text += ", experts";
    } else if (recipe_.structure == Structure::Layer) {
      text += ", layers";
    } else if (recipe_.structure == Structure::Part) {
      text += ", parts";
    } else {
      text +=
          c10::str(", layers ", recipe_.attn_layers.begin, ":", recipe_.attn_layers.end,
                   " (heads) ", recipe_.ffn_layers.begin, ":", recipe_.ffn_layers.end, " (FFN)");
    }
    if (recipe_.steps > 1) text += c10::str(", ", recipe_.steps, " steps");
    if (recipe_.objective != Objective::CrossEntropy) {
      text += c10::str(", objective ", objective_name(recipe_.objective));
    }
    if (!recipe_.conventions->name.empty())
      text += c10::str(", compat ", recipe_.conventions->name);
    if (recipe_.solver != nullptr) text += c10::str(", solver ", recipe_.solver->name);
    return c10::str(text, ", seed ", recipe_.seed);
  }

  const Model& model_;
  const PlanContext& context_;
  PruneRecipe recipe_;
  const Criterion& criterion_;
  PlanResult result_;
  int64_t units_ = 0;        // of all sets at the start
  int64_t units_to_go_ = 0;  // by the ratio
};

}  // namespace

bool needs_calibration(const PruneRecipe& recipe) {
  const bool solves = recipe.solver != nullptr || recipe.sparse_solver != nullptr;
  if (solves || recipe.measures() || recipe.budget->two_stages) return true;
  if (recipe.allocation != nullptr) return true;
  if (recipe.structure == Structure::Vocab) return false;  // no windows: the whole text is counted
  return !recipe.names_layers() && recipe.criterion->needs.calibration();
}

PlanResult plan_by(const Model& model, const PlanContext& context, const PruneRecipe& recipe) {
  if (recipe.names_layers()) return {.plan = layer_plan(recipe, model.layer_count())};
  if (recipe.structure == Structure::Vocab) {
    PRUNUS_CHECK(context.vocabulary != nullptr, InvalidArgument,
                 "--structure vocab plans by a tokenizer and a text: set PlanContext::vocabulary");
    return vocabulary_plan(model, *context.vocabulary, recipe);
  }
  if (recipe.method->rotates) return rotation_plan(model, recipe);
  if (recipe.method->collapses) return collapse_plan(model, context, recipe);
  if (recipe.sparse_solver != nullptr) return sparse_plan(model, context, recipe);
  if (recipe.structure == Structure::Weight) return mask_plan(model, context, recipe);
  if (recipe.budget->two_stages) return two_stage_plan(model, context, recipe);
  if (recipe.budget->measures) return search_plan(model, context, recipe);
  return Planner(model, context, recipe).run();
}

PlanResult make_plan(const Model& model, const PlanContext& context, const PruneOptions& options) {
  return plan_by(model, context, resolve(options, model.layer_count()));
}

PlanResult make_plan(const Model& model, const std::vector<TokenBatch>& batches,
                     const PruneOptions& options) {
  return make_plan(model, {.calibration = [&](int64_t) { return batches; }}, options);
}

}  // namespace prunus
