#include "prunus/pipeline/allocate.h"

#include <algorithm>
#include <numeric>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/pipeline/method.h"

namespace prunus {
namespace {

std::vector<AxisLabel> labels_of(const PruneRecipe& recipe) {
  if (recipe.structure == Structure::Channel) return {AxisLabel::Hidden};
  if (recipe.structure == Structure::Expert) return {AxisLabel::Expert};
  switch (recipe.granularity) {
    case Granularity::KvGroup:
      return {AxisLabel::Ffn, AxisLabel::SharedFfn, AxisLabel::KvGroup};
    case Granularity::QueryHead:
      return {AxisLabel::Ffn, AxisLabel::SharedFfn, AxisLabel::QueryHead};
    case Granularity::HeadDim:
      return {AxisLabel::Ffn, AxisLabel::SharedFfn, AxisLabel::RopePair, AxisLabel::ValueDim};
  }
  return {};
}

bool is_feed_forward(AxisLabel label) {
  return label == AxisLabel::Ffn || label == AxisLabel::SharedFfn;
}

}  // namespace

double ratio_of(const GroupSet& set, const PruneRecipe& recipe) {
  if (set.label == AxisLabel::Hidden || set.label == AxisLabel::Expert ||
      set.label == AxisLabel::Vocab || numbers_layers(set.label)) {
    return recipe.ratio;
  }
  return is_feed_forward(set.label) ? recipe.ffn_ratio : recipe.attn_ratio;
}

namespace {

// Units to keep so that the slices kept are a multiple of round_to: no fewer than `kept`, no more
// than there are. A rotated pair is two slices of every head.
int64_t rounded(const GroupSet& set, int64_t kept, int64_t round_to) {
  if (round_to == 0) round_to = set.kernel_multiple;
  const int64_t width = set.width() * (set.label == AxisLabel::RopePair ? 2 : 1);
  const int64_t step = round_to / std::gcd(round_to, width);
  return std::min(set.units_per_share(), (kept + step - 1) / step * step);
}

// The same number of channels of queries, keys and values must stay.
void couple_head_dim(const std::vector<ScoredSet>& sets, std::vector<int64_t>& counts) {
  int64_t pairs = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].set.label == AxisLabel::RopePair) pairs = counts[i];
  }
  for (size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].set.label == AxisLabel::ValueDim) counts[i] = 2 * pairs;
  }
}

std::vector<int64_t> counts_at(const std::vector<ScoredSet>& sets, const PruneRecipe& recipe,
                               const std::vector<double>& ratios) {
  std::vector<int64_t> counts = recipe.budget->remove(
      {sets, ratios, recipe.normalisation, std::max<int64_t>(1, recipe.round_to)});
  if (!recipe.budget->follows_program) {
    for (size_t i = 0; i < sets.size(); ++i) {
      const int64_t units = sets[i].set.units_per_share();
      counts[i] = units - rounded(sets[i].set, units - counts[i], recipe.round_to);
    }
  }
  couple_head_dim(sets, counts);
  return counts;
}

void check_not_empty(const std::vector<ScoredSet>& sets, const PruneRecipe& recipe, bool quiet,
                     std::vector<int64_t>& counts) {
  for (size_t i = 0; i < sets.size(); ++i) {
    const GroupSet& set = sets[i].set;
    if (counts[i] < set.units_per_share()) continue;
    PRUNUS_CHECK(recipe.budget->follows_program, InvalidArgument, set.name(), ": ratio ",
                 ratio_of(set, recipe), " would remove all ", set.units,
                 " units; lower --ratio, or prune fewer --layers");
    counts[i] = 0;
    if (quiet) continue;
    log_warning(c10::str(set.name(), ": would lose all ", set.units,
                         " units, so nothing is removed there, as in the reference"));
  }
}

// grouped_mm, with which stock software runs all experts at once, wants rows of whole 16 bytes:
// those of the experts' inner width, and those of the hidden size that they read.
int64_t kernel_multiple(const Model& model, const GroupSet& set) {
  constexpr int64_t kRowBytes = 16;
  const auto& layers = model.config().layers;
  const auto mixture = std::find_if(layers.begin(), layers.end(),
                                    [](const LayerShape& layer) { return layer.experts > 0; });
  const bool hidden = set.label == AxisLabel::Hidden && mixture != layers.end();
  const bool inner =
      set.label == AxisLabel::Ffn && layers[static_cast<size_t>(set.layer)].experts > 0;
  if (!hidden && !inner) return 1;
  const int layer = hidden ? static_cast<int>(mixture - layers.begin()) : set.layer;
  const at::ScalarType dtype = model.source().dtype(model.tensor(Role::DownProj, layer));
  return kRowBytes / static_cast<int64_t>(c10::elementSize(dtype));
}

}  // namespace

void warn_of_rounding(const std::vector<GroupSet>& sets, const PruneRecipe& recipe) {
  for (const GroupSet& set : sets) {
    if (recipe.round_to == 0 || recipe.round_to % set.kernel_multiple == 0) continue;
    log_warning(c10::str(set.name(), ": --round-to ", recipe.round_to,
                         " may leave rows that are no multiple of 16 bytes, which the stock "
                         "kernels for experts refuse; --round-to ",
                         set.kernel_multiple, " or none avoids it"));
    return;
  }
}

namespace {

// The reference knows no mixtures: what it would remove of one, nobody can say.
void check_reference(const std::vector<GroupSet>& sets, const Model& model) {
  const bool mixture = std::any_of(sets.begin(), sets.end(), [](const GroupSet& set) {
    return set.label == AxisLabel::Expert || (is_feed_forward(set.label) && set.shares > 1);
  });
  PRUNUS_CHECK(!mixture, InvalidArgument, "--compat llm-pruner: model_type '",
               model.config().family->model_type,
               "' is a mixture of experts here, which that program does not know; drop --compat");
}

}  // namespace

void check_choice(const std::vector<GroupSet>& sets, const PruneRecipe& recipe) {
  if (!recipe.criterion->chooses) return;
  for (const GroupSet& set : sets) {
    PRUNUS_CHECK(set.shares == 1, InvalidArgument, "--method ", recipe.name, " chooses among all ",
                 "units of a set, but of ", set.name(), " as many go from each of ", set.shares,
                 " parts (heads of a KV group, channels of an expert); take another method, or "
                 "another --granularity");
  }
}

std::vector<GroupSet> select_sets(const Model& model, const PruneRecipe& recipe) {
  if (recipe.structure == Structure::Layer) return {layer_set(model)};
  if (recipe.structure == Structure::Part) return part_sets(model);
  const std::vector<AxisLabel> labels = labels_of(recipe);
  std::vector<GroupSet> sets;
  std::vector<GroupSet> all = find_groups(model);
  if (recipe.budget->follows_program) check_reference(all, model);
  for (GroupSet& set : all) {
    if (std::find(labels.begin(), labels.end(), set.label) == labels.end()) continue;
    const LayerRange& range = is_feed_forward(set.label) ? recipe.ffn_layers : recipe.attn_layers;
    if (per_layer(set.label) && !range.contains(set.layer)) continue;
    PRUNUS_CHECK(set.label != AxisLabel::QueryHead || set.units_per_share() > 1, InvalidArgument,
                 set.name(),
                 ": every KV group has one query head; --granularity query-head has "
                 "nothing to remove here, use kv-group");
    set.kernel_multiple = kernel_multiple(model, set);
    sets.push_back(std::move(set));
  }
  const bool whole_heads =
      recipe.granularity != Granularity::HeadDim || recipe.structure != Structure::Block;
  const auto has = [&](AxisLabel label) {
    return std::any_of(sets.begin(), sets.end(),
                       [&](const GroupSet& set) { return set.label == label; });
  };
  PRUNUS_CHECK(whole_heads || has(AxisLabel::RopePair), Unsupported,
               "--granularity head-dim: in "
               "model_type '",
               model.config().family->model_type,
               "' the channels of a head cannot be cut (docs/families.md says why); use kv-group");
  PRUNUS_CHECK(recipe.structure != Structure::Expert || has(AxisLabel::Expert), InvalidArgument,
               "--structure expert: model_type '", model.config().family->model_type,
               "' has no experts; it is for mixtures (docs/families.md), use --structure block");
  return sets;
}

std::vector<int64_t> allocate(const std::vector<ScoredSet>& sets, const PruneRecipe& recipe,
                              double fraction, bool quiet) {
  std::vector<double> ratios;
  for (const ScoredSet& scored : sets) ratios.push_back(ratio_of(scored.set, recipe) * fraction);
  std::vector<int64_t> counts = counts_at(sets, recipe, ratios);
  check_not_empty(sets, recipe, quiet, counts);
  return counts;
}

std::optional<Target> target_of(const Model& model, const std::vector<GroupSet>& sets,
                                const PruneRecipe& recipe) {
  if (!recipe.target_params && !recipe.target_bytes) return std::nullopt;
  Target target;
  for (const GroupSet& set : sets) {
    target.freed_per_unit.push_back(recipe.target_params ? set.parameters_per_unit()
                                                         : set.bytes_per_unit(model.source()));
  }
  target.before = recipe.target_params ? model.parameters() : model.bytes();
  target.wanted = recipe.target_params ? *recipe.target_params : *recipe.target_bytes;
  return target;
}

int64_t freed(const Target& target, const std::vector<ScoredSet>& sets,
              const std::vector<int64_t>& counts) {
  int64_t total = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    total += counts[i] * sets[i].set.shares * target.freed_per_unit[i];
  }
  return total;
}

double solve_ratio(const Target& target, const std::vector<ScoredSet>& sets,
                   const PruneRecipe& recipe) {
  const auto left = [&](double ratio) {
    std::vector<int64_t> counts = counts_at(sets, recipe, std::vector<double>(sets.size(), ratio));
    for (size_t i = 0; i < sets.size(); ++i) {
      counts[i] = std::min(counts[i], sets[i].set.units_per_share() - 1);
    }
    return target.before - freed(target, sets, counts);
  };
  // The largest ratio at which every set keeps a slice, and so a unit (a global ranking always
  // leaves one).
  double high = 1 - 1e-9;
  for (const ScoredSet& scored : sets) {
    if (recipe.budget->ranks_sets) break;
    const int64_t slices = scored.set.units_per_share() * scored.set.width();
    high = std::min(high, 1 - (1 + 1e-9) / static_cast<double>(slices));
  }
  PRUNUS_CHECK(left(high) <= target.wanted, InvalidArgument, "the target of ", target.wanted,
               recipe.target_params ? " parameters" : " bytes",
               " is out of reach: with what may be cut here at least ", left(high), " of ",
               target.before, " are left; raise the target, or widen --layers");
  double low = 0;
  if (left(low) <= target.wanted) return low;
  while (high - low > 1e-9) {
    const double middle = (low + high) / 2;
    (left(middle) <= target.wanted ? high : low) = middle;
  }
  return high;
}

std::vector<ScoredSet> unscored(const std::vector<GroupSet>& sets) {
  std::vector<ScoredSet> scored;
  for (const GroupSet& set : sets) {
    scored.push_back({set, std::vector<double>(static_cast<size_t>(set.units), 0.0)});
  }
  return scored;
}

}  // namespace prunus
