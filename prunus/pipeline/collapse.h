#pragma once
#include "prunus/pipeline/prune.h"

namespace prunus {

/// Makes one layer of up to four that follow each other: W_l + Σ_k (W_{l+k} − W_l) of each matrix,
/// from the last layers to the first, two layers further after each time, where the model so made
/// puts out nearly what the dense one does: the cosine of the normalised last hidden states of a
/// window, all its tokens as one vector, in the mean over the windows, is above a threshold. The
/// threshold is the highest of 1025 from −1 to 1, found by halving, at which the recipe's ratio (or
/// target) of the layers goes; the last layer that is made is of no more than are to go.
/// Cost: a pass forward through what is left for each model tried, at most the number of layers for
/// each of ten thresholds; models that were tried before are not tried again. Throws as
/// with_layer_sums(), before anything is run; InvalidArgument where the target is out of reach.
/// Source: Yang et al., LaCo, arXiv:2402.11187, algorithm 1. Differs: there the threshold is given
/// (the authors' program puts the last of the layers in the place of the first: it subtracts what
/// it has already added to).
PlanResult collapse_plan(const Model& model, const PlanContext& context, const PruneRecipe& recipe);

}  // namespace prunus
