#pragma once
#include "prunus/pipeline/prune.h"

namespace prunus {

/// How much each of the two stages gives.
struct TwoStages {
  int64_t attention_parts = 0;  ///< that go as a whole
  double channels = 0;          ///< share of the channels of every feed-forward part
};

/// Of the weights of the recipe's attention and feed-forward parts its ratio is to go (or what its
/// target wants): round(N·s^(F / 1.5·A)) of the N attention parts, s the share of the weights, F
/// and A those of a feed-forward and an attention part; no more than s holds, and one stays in the
/// model. The feed-forward parts give the rest. Throws InvalidArgument where that is all they have.
/// Source: Sandri et al., 2SSP, arXiv:2501.17771, eq. 5. Differs: the norm of a part counts.
TwoStages stages_of(const Model& model, const PruneRecipe& recipe);

/// First the channels of feed-forward parts by the recipe's scores in the dense model, as many in
/// every layer; then, in what is left, one attention part after the other, each time the one
/// without which the loss of the calibration's first 2048 tokens is least. Each is a step of its
/// own (PlanContext::finished). Throws as score_groups(), losses_without(), stages_of().
/// Source: 2SSP, section 3.
PlanResult two_stage_plan(const Model& model, const PlanContext& context,
                          const PruneRecipe& recipe);

}  // namespace prunus
