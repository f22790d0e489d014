#pragma once
#include <cstdint>
#include <vector>

#include "prunus/budget/budget.h"
#include "prunus/pipeline/options.h"

namespace prunus {

/// The ratio asked for in a set: --ratio, or that of heads or of the feed-forward part.
double ratio_of(const GroupSet& set, const PruneRecipe& recipe);

/// The group sets that a recipe cuts: FFN channels and attention units in their layer
/// ranges, the hidden dimension, the experts of every layer that has some, layers, or their parts.
/// Throws InvalidArgument where there are none, the granularity finds nothing to remove, or compat
/// meets a mixture of experts.
std::vector<GroupSet> select_sets(const Model& model, const PruneRecipe& recipe);

/// Throws InvalidArgument where the recipe's criterion chooses units together and a set has shares.
void check_choice(const std::vector<GroupSet>& sets, const PruneRecipe& recipe);

/// Warns where --round-to leaves expert matrices whose rows are no multiple of 16 bytes, which the
/// stock kernels for experts refuse; without --round-to they are rounded so (kernel_multiple).
void warn_of_rounding(const std::vector<GroupSet>& sets, const PruneRecipe& recipe);

/// Units to remove from each share of each set: the budget's counts, rounded (--round-to), never
/// all of a set. `fraction` in (0, 1] scales the ratios (step of an iterative run).
/// Throws InvalidArgument where a set would lose everything; with compat it loses nothing instead,
/// as in the reference, and unless `quiet` a warning says so.
std::vector<int64_t> allocate(const std::vector<ScoredSet>& sets, const PruneRecipe& recipe,
                              double fraction, bool quiet = false);

/// Where a target stands: what the sets' units weigh and how much may stay.
struct Target {
  std::vector<int64_t> freed_per_unit;  ///< per set; parameters or bytes
  int64_t before = 0;                   ///< of the whole model
  int64_t wanted = 0;                   ///< at most so much is to be left
};
/// The target of the recipe for a model, or nothing. `sets` are the model's.
std::optional<Target> target_of(const Model& model, const std::vector<GroupSet>& sets,
                                const PruneRecipe& recipe);

/// Parameters (or bytes) that go with these counts.
int64_t freed(const Target& target, const std::vector<ScoredSet>& sets,
              const std::vector<int64_t>& counts);

/// The smallest ratio that meets the target, to 1e-9. The scores are used only by global ranking.
/// Throws InvalidArgument where no ratio does, naming the least that can be left.
double solve_ratio(const Target& target, const std::vector<ScoredSet>& sets,
                   const PruneRecipe& recipe);

/// The sets with a score of 0 for every unit: for what does not depend on the scores.
std::vector<ScoredSet> unscored(const std::vector<GroupSet>& sets);

}  // namespace prunus
