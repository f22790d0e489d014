#pragma once
#include "prunus/pipeline/prune.h"
#include "prunus/pipeline/sensitivity.h"

namespace prunus {

/// The attention and feed-forward parts of the recipe's layers with what they may become: widths on
/// a grid of a twelfth, KV groups with fewer query heads in each; at every level the units with the
/// highest of the recipe's scores stay. The first level of a part drops it as a whole, but in the
/// first layer that has such a part. Feed-forward parts of mixtures are neither cut nor dropped.
/// `batches`: calibration text, where the criterion needs some. Throws as score_groups(), and as
/// search_plan() where the target is out of reach, before anything is scored.
std::vector<PartLevels> levels_of(const Model& model, const PruneRecipe& recipe,
                                  const std::vector<TokenBatch>& batches, StreamStore* store);

/// Finds how much each part gives by measuring: what every part costs at a few levels, alone, in
/// the dense model; the cheapest choice that meets the target (solve_knapsack); then what the
/// levels around the choice cost in the model so pruned, and the choice anew. Of the two choices
/// the one that diverges less is taken. The recipe's ratio is that of the parameters of the parts.
/// Throws as its parts; InvalidArgument where the target is out of reach. Source: one-unit tables
/// and knapsack as in ZipLM (arXiv:2302.04089) and Puzzle (arXiv:2411.19146), with the divergence
/// of the output as the cost.
PlanResult search_plan(const Model& model, const PlanContext& context, const PruneRecipe& recipe);

}  // namespace prunus
