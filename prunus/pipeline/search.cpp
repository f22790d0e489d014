#include "prunus/pipeline/search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"
#include "prunus/pipeline/knapsack.h"
#include "prunus/pipeline/level_budget.h"
#include "prunus/pipeline/score.h"
#include "prunus/solve/part_tap.h"

namespace prunus {
namespace {

constexpr int64_t kWidths = 12;                 // of a feed-forward part
constexpr size_t kMostHeadLevels = 9;           // of an attention part
constexpr int64_t kNear = 2;                    // levels to either side that are measured again
constexpr int64_t kRounds = 1;                  // of measuring around the solution
constexpr int64_t kAttempts = 4;                // of a choice whose budget is measured
constexpr int64_t kCalibrationTokens = 16'384;  // tokens that the levels are fitted on

std::vector<int64_t> best_of(const std::vector<double>& scores, int64_t count, int64_t begin,
                             int64_t units) {
  std::vector<int64_t> order(static_cast<size_t>(units));
  std::iota(order.begin(), order.end(), begin);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

at::Tensor inputs_of(const std::vector<int64_t>& units, int64_t width) {
  const at::Tensor first = at::tensor(units, at::kLong).unsqueeze(1) * width;
  return (first + at::arange(width, at::kLong)).flatten();
}

PlanEntry entry_of(const ScoredSet& scored, std::vector<int64_t> units) {
  return {.keep = {scored.set.label, scored.set.layer, std::move(units)},
          .units = scored.set.units,
          .scores = scored.scores};
}

// The part goes as a whole.
PartLevel dropped_level() { return {.entries = {}, .columns = at::empty({0}, at::kLong)}; }

// Widths in twelfths, in multiples that kernels like.
PartLevels widths_of(const Model& model, const ScoredSet& channels, int64_t round_to) {
  const int64_t units = channels.set.units;
  const int64_t each = channels.set.parameters_per_unit();
  const int64_t bytes = channels.set.bytes_per_unit(model.source());
  const int64_t multiple = std::max<int64_t>({round_to, channels.set.kernel_multiple, 1});
  PartLevels part{channels.set.layer, Part::FeedForward, {}};
  int64_t last = 0;
  for (int64_t i = 1; i <= kWidths; ++i) {
    int64_t width = (units * i + kWidths - 1) / kWidths;
    width = std::min(units, (width + multiple - 1) / multiple * multiple);
    if (width == last) continue;
    last = width;
    PartLevel level{.entries = {},
                    .columns = at::arange(units, at::kLong),
                    .parameters = width * each,
                    .bytes = width * bytes};
    if (width < units) {
      const std::vector<int64_t> kept = best_of(channels.scores, width, 0, units);
      level.columns = inputs_of(kept, 1);
      level.entries.push_back(entry_of(channels, kept));
    }
    part.levels.push_back(std::move(level));
  }
  return part;
}

// Which counts of `units` are looked at: all, or quarters.
std::vector<int64_t> counts_of(int64_t units, bool all) {
  std::set<int64_t> counts;
  for (int64_t i = 1; i <= (all ? units : 4); ++i) {
    counts.insert(all ? i : std::max<int64_t>(1, units * i / 4));
  }
  return {counts.begin(), counts.end()};
}

// KV groups, with as many query heads in each; `heads` may be null where each group has one.
PartLevels heads_of(const Model& model, const ScoredSet& groups, const ScoredSet* heads) {
  const int64_t head_dim = model.config().head_dim;
  const int64_t count = groups.set.units;
  const int64_t each = heads == nullptr ? 1 : heads->set.units / count;
  const bool all = static_cast<size_t>(count * each) <= kMostHeadLevels;
  PartLevels part{groups.set.layer, Part::Attention, {}};
  for (const int64_t kept_groups : counts_of(count, all)) {
    for (const int64_t kept_heads : counts_of(each, all)) {
      PartLevel level;
      level.parameters = kept_groups * groups.set.parameters_per_unit();
      level.bytes = kept_groups * groups.set.bytes_per_unit(model.source());
      if (kept_heads < each) {
        const int64_t gone = kept_groups * (each - kept_heads);
        level.parameters -= gone * heads->set.parameters_per_unit();
        level.bytes -= gone * heads->set.bytes_per_unit(model.source());
      }
      const std::vector<int64_t> left = best_of(groups.scores, kept_groups, 0, count);
      std::vector<int64_t> queries;
      for (const int64_t group : left) {
        std::vector<int64_t> in(static_cast<size_t>(each));
        std::iota(in.begin(), in.end(), group * each);
        if (kept_heads < each) in = best_of(heads->scores, kept_heads, group * each, each);
        queries.insert(queries.end(), in.begin(), in.end());
      }
      level.columns = inputs_of(queries, head_dim);
      if (kept_groups < count) level.entries.push_back(entry_of(groups, left));
      if (kept_heads < each) level.entries.push_back(entry_of(*heads, queries));
      part.levels.push_back(std::move(level));
    }
  }
  std::stable_sort(part.levels.begin(), part.levels.end(),
                   [](const auto& a, const auto& b) { return a.parameters < b.parameters; });
  return part;
}

std::vector<GroupSet> scored_sets(const Model& model, const PruneRecipe& recipe) {
  std::vector<GroupSet> sets;
  for (GroupSet& set : find_groups(model)) {
    if (set.layer < 0) continue;
    const bool mixture = model.config().layers[static_cast<size_t>(set.layer)].experts > 0;
    const bool ffn = set.label == AxisLabel::Ffn && !mixture;
    const bool heads = set.label == AxisLabel::KvGroup ||
                       (set.label == AxisLabel::QueryHead && set.units_per_share() > 1);
    const LayerRange& range = ffn ? recipe.ffn_layers : recipe.attn_layers;
    if ((ffn || heads) && range.contains(set.layer)) sets.push_back(std::move(set));
  }
  return sets;
}

// What to measure first: the two smallest levels, for what comes behind the smallest is a leap
// where that drops the part; of the others every second one of heads, quarters of widths.
std::vector<size_t> first_levels(const PartLevels& part) {
  const size_t whole = part.whole();
  const size_t stride =
      part.part == Part::Attention ? 2 : std::max<size_t>(1, part.levels.size() / 4);
  std::vector<size_t> levels;
  for (size_t i = 0; i < whole; ++i) {
    if (i < 2 || (whole - i) % stride == 0) levels.push_back(i);
  }
  return levels;
}

// Of heads every level near the base; costs of widths lie on a line between two that are measured.
std::vector<size_t> near_levels(const PartLevels& part, size_t base) {
  const auto at = static_cast<int64_t>(base);
  const auto whole = static_cast<int64_t>(part.whole());
  const int64_t low = std::max<int64_t>(0, at - kNear);
  const int64_t high = std::min(whole, at + kNear);
  std::vector<size_t> levels;
  for (int64_t i = low; i <= high; ++i) {
    const bool leap = i == 1 && part.levels[0].dropped();
    const bool asked = part.part == Part::Attention || i == low || i == high || leap;
    if (i != at && asked) levels.push_back(static_cast<size_t>(i));
  }
  return levels;
}

// Costs of the levels between the least and the greatest that is known, straight lines between
// those; others are not offered.
std::vector<std::pair<size_t, double>> lined(const PartLevels& part,
                                             const std::vector<double>& known) {
  std::vector<std::pair<size_t, double>> costs;
  std::optional<size_t> before;
  for (size_t i = 0; i < known.size(); ++i) {
    if (std::isnan(known[i])) continue;
    if (before) {
      const auto low = static_cast<double>(part.levels[*before].parameters);
      const auto high = static_cast<double>(part.levels[i].parameters);
      for (size_t j = *before + 1; j < i; ++j) {
        const double at = (static_cast<double>(part.levels[j].parameters) - low) / (high - low);
        costs.emplace_back(j, known[*before] + at * (known[i] - known[*before]));
      }
    }
    costs.emplace_back(i, known[i]);
    before = i;
  }
  return costs;
}

// The scores that the levels' units were chosen by, one list a set.
Json scores_of(const std::vector<PartLevels>& parts) {
  std::map<std::pair<int, AxisLabel>, std::vector<double>> scores;
  for (const PartLevels& part : parts) {
    for (const PartLevel& level : part.levels) {
      for (const PlanEntry& entry : level.entries) {
        scores[{part.layer, entry.keep.label}] = entry.scores;
      }
    }
  }
  Json list = Json::array();
  for (const auto& [set, of] : scores) {
    list.push_back({{"layer", set.first}, {"axis", axis_name(set.second)}, {"scores", of}});
  }
  return list;
}

// A walk of a search as it is left for --resume.
std::string walk_json(const std::vector<size_t>& base, const Sensitivity& found,
                      const std::vector<PartLevels>& parts) {
  Json kl = Json::array();
  for (const std::vector<double>& part : found.kl) {
    Json levels = Json::array();
    for (const double cost : part) {
      levels.push_back(std::isnan(cost) ? Json(nullptr) : Json(cost));
    }
    kl.push_back(std::move(levels));
  }
  return Json{
      {"levels", base}, {"base", found.base}, {"kl", std::move(kl)}, {"scores", scores_of(parts)}}
      .dump();
}

// The sets with the scores of a walk; sets that it has none of have units that no level chooses.
std::vector<ScoredSet> scored_by_walk(const Json& walk, const std::vector<GroupSet>& sets) {
  std::vector<ScoredSet> scored = unscored(sets);
  for (const Json& one : walk.at("scores")) {
    for (ScoredSet& into : scored) {
      if (into.set.layer != one.at("layer").get<int>() ||
          axis_name(into.set.label) != one.at("axis").get<std::string>()) {
        continue;
      }
      into.scores = one.at("scores").get<std::vector<double>>();
      PRUNUS_CHECK(static_cast<int64_t>(into.scores.size()) == into.set.units, Corrupt,
                   "the work folder's walk of the search: ", into.set.name(), " has ",
                   into.scores.size(), " scores for ", into.set.units, " units; begin anew");
    }
  }
  return scored;
}

Sensitivity sensitivity_from(const Json& walk, const std::vector<PartLevels>& parts) {
  Sensitivity found{.base = walk.at("base").get<double>(), .kl = {}};
  for (const Json& part : walk.at("kl")) {
    found.kl.emplace_back();
    for (const Json& cost : part) {
      found.kl.back().push_back(cost.is_null() ? std::numeric_limits<double>::quiet_NaN()
                                               : cost.get<double>());
    }
  }
  bool fits = found.kl.size() == parts.size();
  for (size_t p = 0; fits && p < parts.size(); ++p) {
    fits = found.kl[p].size() == parts[p].levels.size();
  }
  PRUNUS_CHECK(fits, Corrupt, "the work folder's walk of the search is of other parts; begin anew");
  return found;
}

// The walks of a search: measured, or taken over from an earlier process.
class Walks {
 public:
  // `restored`: the parts by what a walk left of them.
  Walks(SensitivityMeter& meter, const PlanContext& context,
        std::function<std::vector<PartLevels>(const Json& walk)> restored)
      : meter_(meter), context_(context), restored_(std::move(restored)) {}

  // `base` becomes that of the earlier process: what time a level takes is measured anew.
  Sensitivity next(std::vector<size_t>& base, const std::vector<std::vector<size_t>>& wanted,
                   size_t texts) {
    const int64_t number = done_++;
    if (context_.measured) {
      if (const auto earlier = context_.measured(number)) return take_over(*earlier, number, base);
    }
    Sensitivity found = meter_.measure(base, wanted, texts);
    if (context_.keep_measured) {
      context_.keep_measured(number, walk_json(base, found, meter_.parts()));
    }
    return found;
  }

  const std::vector<PartLevels>& parts() const { return meter_.parts(); }

 private:
  Sensitivity take_over(const std::string& text, int64_t number, std::vector<size_t>& base) {
    try {
      const Json walk = Json::parse(text);
      meter_.restore(restored_(walk));
      Sensitivity found = sensitivity_from(walk, meter_.parts());
      base = walk.at("levels").get<std::vector<size_t>>();
      check_levels(base);
      log_info(c10::str("search: walk ", number + 1, " is done already"));
      return found;
    } catch (const nlohmann::json::exception& error) {
      PRUNUS_FAIL(Corrupt, "the work folder's walk ", number, " of the search: ", error.what());
    }
  }

  void check_levels(const std::vector<size_t>& base) const {
    bool fits = base.size() == parts().size();
    for (size_t p = 0; fits && p < base.size(); ++p) fits = base[p] < parts()[p].levels.size();
    PRUNUS_CHECK(fits, Corrupt,
                 "the work folder's walk of the search is of other levels; begin anew");
  }

  SensitivityMeter& meter_;
  const PlanContext& context_;
  std::function<std::vector<PartLevels>(const Json&)> restored_;
  int64_t done_ = 0;
};

class Search {
 public:
  Search(LevelBudget& budget, Walks& walks)
      : parts_(walks.parts()), budget_(budget), walks_(walks) {}

  void run() {
    std::vector<size_t> base;
    std::vector<std::vector<size_t>> wanted;
    for (const PartLevels& part : parts_) {
      base.push_back(part.whole());
      wanted.push_back(first_levels(part));
    }
    table_ = walks_.next(base, wanted, 1).kl;
    double least = std::numeric_limits<double>::infinity();
    std::vector<size_t> levels = choose(base, 0, table_);
    for (int64_t round = 0; round <= kRounds; ++round) {
      wanted.clear();
      for (size_t p = 0; p < parts_.size(); ++p) {
        wanted.push_back(round < kRounds ? near_levels(parts_[p], levels[p])
                                         : std::vector<size_t>());
      }
      const Sensitivity around = walks_.next(levels, wanted, 2);
      log_info(c10::str("search: divergence ", around.base, " nats a token with ",
                        human_count(parameters(levels)), " parameters in the parts"));
      rounds_.push_back(around.base);
      if (around.base < least) {
        least = around.base;
        levels_ = levels;
        best_parts_ = parts_;
      }
      if (round < kRounds) levels = choose(levels, around.base, around.kl);
    }
    budget_.adjust(levels_);
  }

  // The best choice, with the units that were chosen behind it.
  Plan plan(const Model& model) const { return plan_of_levels(model, best_parts_, levels_); }

  Json json() const {
    Json list = Json::array();
    for (size_t p = 0; p < parts_.size(); ++p) {
      Json levels = Json::array();
      for (size_t i = 0; i < parts_[p].levels.size(); ++i) {
        const double kl = table_[p][i];
        levels.push_back({{"parameters", parts_[p].levels[i].parameters},
                          {"kl", std::isnan(kl) ? Json(nullptr) : Json(kl)}});
      }
      list.push_back({{"layer", parts_[p].layer},
                      {"part", part_name(parts_[p].part)},
                      {"chosen", levels_[p]},
                      {"levels", std::move(levels)}});
    }
    Json result = {{"divergence", rounds_}, {"parts", std::move(list)}};
    if (Json spent = budget_.json(); !spent.is_null()) result["latency"] = std::move(spent);
    return result;
  }

 private:
  int64_t parameters(const std::vector<size_t>& levels) const {
    int64_t sum = 0;
    for (size_t p = 0; p < parts_.size(); ++p) sum += parts_[p].levels[levels[p]].parameters;
    return sum;
  }

  // `kl`: of the models that differ from the base in one part.
  std::vector<size_t> choose(const std::vector<size_t>& base, double base_kl,
                             const std::vector<std::vector<double>>& kl) const {
    std::vector<std::vector<KnapsackLevel>> units;
    std::vector<std::vector<size_t>> numbers;
    for (size_t p = 0; p < parts_.size(); ++p) {
      std::vector<double> known = kl[p];
      known[base[p]] = base_kl;
      units.emplace_back();
      numbers.emplace_back();
      for (const auto& [level, cost] : lined(parts_[p], known)) {
        units.back().push_back({budget_.weight(p, level), cost - base_kl});
        numbers.back().push_back(level);
      }
    }
    std::vector<size_t> levels;
    for (int64_t attempt = 0; attempt < kAttempts; ++attempt) {
      levels = solve_knapsack(units, budget_.capacity());
      for (size_t p = 0; p < levels.size(); ++p) levels[p] = numbers[p][levels[p]];
      if (!budget_.adjust(levels)) break;
    }
    return levels;
  }

  const std::vector<PartLevels>& parts_;
  LevelBudget& budget_;
  Walks& walks_;
  std::vector<std::vector<double>> table_;
  std::vector<double> rounds_;
  std::vector<size_t> levels_;
  std::vector<PartLevels> best_parts_;
};

// One layer must keep each kind of part: the first that has it, whose parts cost most when dropped.
bool may_drop(const Model& model, const PartLevels& part) {
  const SubLayer kind = part.part == Part::Attention ? SubLayer::Attention : SubLayer::FeedForward;
  const auto& layers = model.config().layers;
  return std::any_of(layers.begin(), layers.begin() + part.layer,
                     [&](const LayerShape& layer) { return layer.has(kind); });
}

// Of the sets of one layer, those of a kind of part.
std::vector<ScoredSet> of_part(const std::vector<ScoredSet>& sets, int layer, Part part) {
  std::vector<ScoredSet> found;
  for (const ScoredSet& one : sets) {
    const bool ffn = one.set.label == AxisLabel::Ffn;
    if (one.set.layer == layer && ffn == (part == Part::FeedForward)) found.push_back(one);
  }
  return found;
}

// `scored`: of_part().
PartLevels part_of(const Model& model, const PruneRecipe& recipe,
                   const std::vector<ScoredSet>& scored) {
  PartLevels part;
  if (scored[0].set.label == AxisLabel::Ffn) {
    part = widths_of(model, scored[0], recipe.round_to);
  } else {
    const auto labelled = [&](AxisLabel label) {
      return std::find_if(scored.begin(), scored.end(),
                          [&](const ScoredSet& one) { return one.set.label == label; });
    };
    const auto heads = labelled(AxisLabel::QueryHead);
    part =
        heads_of(model, *labelled(AxisLabel::KvGroup), heads == scored.end() ? nullptr : &*heads);
  }
  if (may_drop(model, part)) part.levels.insert(part.levels.begin(), dropped_level());
  return part;
}

std::vector<PartLevels> parts_of(const Model& model, const PruneRecipe& recipe,
                                 const std::vector<ScoredSet>& scored) {
  std::vector<PartLevels> parts;
  for (const ScoredSet& one : scored) {
    if (one.set.label == AxisLabel::QueryHead) continue;
    const Part kind = one.set.label == AxisLabel::Ffn ? Part::FeedForward : Part::Attention;
    PartLevels part = part_of(model, recipe, of_part(scored, one.set.layer, kind));
    if (part.levels.size() > 1) parts.push_back(std::move(part));
  }
  return parts;
}

// Before anything is scored or measured.
void check_target(const Model& model, const PruneRecipe& recipe,
                  const std::vector<GroupSet>& sets) {
  if (recipe.target_latency) return;  // measured first
  const std::vector<PartLevels> parts = parts_of(model, recipe, unscored(sets));
  const auto budget = level_budget(model, recipe, parts);
  int64_t least = 0;
  for (size_t p = 0; p < parts.size(); ++p) least += budget->weight(p, 0);
  PRUNUS_CHECK(least <= budget->capacity(), InvalidArgument,
               "the target is out of reach: heads and channels may keep ", budget->capacity(),
               recipe.target_bytes ? " bytes" : " parameters",
               ", but the least that every part can become is ", least,
               "; lower --ratio, raise the target, or widen --layers");
}

// Levels with the units that score highest by what enters a part.
auto chooser(const Model& model, const PruneRecipe& recipe) {
  return [&model, &recipe, sets = unscored(scored_sets(model, recipe))](
             const PartLevels& part, const BlockWeights& weights, const at::Tensor& moments,
             int64_t tokens) {
    std::vector<GroupSet> of;
    for (ScoredSet& one : of_part(sets, part.layer, part.part)) of.push_back(std::move(one.set));
    const std::vector<ScoredSet> scored = score_by_moments(
        model, of, *recipe.criterion, weights, roles_of(part.part).weight, moments, tokens,
        {.seed = recipe.seed,
         .device = recipe.device,
         .reduction = parse_reduction(recipe.reduction),
         .members = recipe.members,
         .conventions = recipe.conventions});
    return part_of(model, recipe, scored);
  };
}

// Two batches, of half the rows each where there are two.
std::vector<TokenBatch> halves_of(const std::vector<TokenBatch>& batches) {
  std::vector<at::Tensor> rows;
  for (const TokenBatch& batch : batches) rows.push_back(batch.ids);
  const at::Tensor ids = at::cat(rows);
  const int64_t half = (ids.size(0) + 1) / 2;
  std::vector<TokenBatch> both{{ids.narrow(0, 0, half)}};
  if (half < ids.size(0)) both.push_back({ids.narrow(0, half, ids.size(0) - half)});
  return both;
}

}  // namespace

std::vector<PartLevels> levels_of(const Model& model, const PruneRecipe& recipe,
                                  const std::vector<TokenBatch>& batches, StreamStore* store) {
  const std::vector<GroupSet> sets = scored_sets(model, recipe);
  PRUNUS_CHECK(!sets.empty(), InvalidArgument,
               "--budget search: nothing of this model's layers can be cut part by part");
  check_target(model, recipe, sets);
  // Then the units are chosen in the walks that measure.
  if (scores_by_moments(*recipe.criterion, recipe.members)) {
    return parts_of(model, recipe, unscored(sets));
  }
  const std::vector<ScoredSet> scored =
      score_groups(model, sets, *recipe.criterion, batches, {0, model.layer_count()},
                   {.seed = recipe.seed,
                    .device = recipe.device,
                    .reduction = parse_reduction(recipe.reduction),
                    .members = recipe.members,
                    .conventions = recipe.conventions,
                    .store = store})
          .sets;
  return parts_of(model, recipe, scored);
}

PlanResult search_plan(const Model& dense, const PlanContext& context, const PruneRecipe& recipe) {
  if (context.finished) {
    if (auto earlier = context.finished(0)) return *earlier;
  }
  PRUNUS_CHECK(context.calibration && context.held_out, InvalidArgument,
               "--budget search measures on text: pass --calib FILE");
  const std::vector<TokenBatch> batches = context.calibration(0);
  const std::vector<TokenBatch> held_out = halves_of(context.held_out());
  Model model = dense;
  model.set_precision(recipe.precision);
  std::unique_ptr<StreamStore> store;
  if (context.store) store = context.store(0);
  std::vector<PartLevels> parts = levels_of(model, recipe, batches, store.get());
  const std::unique_ptr<LevelBudget> budget = level_budget(dense, recipe, parts);
  const std::vector<TokenBatch> some = first_tokens(batches, kCalibrationTokens);
  SensitivityMeter::Options options{.device = recipe.device};
  if (scores_by_moments(*recipe.criterion, recipe.members)) options.choose = chooser(model, recipe);
  SensitivityMeter meter(model, std::move(parts), some, held_out, std::move(options));
  Walks walks(meter, context, [&](const Json& walk) {
    return parts_of(model, recipe, scored_by_walk(walk, scored_sets(model, recipe)));
  });
  Search search(*budget, walks);
  search.run();
  PlanResult result{.plan = search.plan(model), .ratio = recipe.ratio};
  result.plan.method = c10::str(recipe.name, ", ", recipe.criterion->name,
                                ", budget search, ratio ", recipe.ratio, ", seed ", recipe.seed);
  if (recipe.solver != nullptr) {
    result.plan.method += c10::str(", solver ", recipe.solver->name);
  }
  result.search = search.json().dump();
  if (context.finish) context.finish(0, result);
  return result;
}

}  // namespace prunus
