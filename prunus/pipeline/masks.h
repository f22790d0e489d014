#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "prunus/model/mask.h"
#include "prunus/pipeline/options.h"
#include "prunus/pipeline/plan.h"
#include "prunus/solve/sparse_walk.h"

namespace prunus {

/// What masks set to zero.
struct MaskSummary {
  int64_t weights = 0;  ///< of the matrices that have a mask
  int64_t zeros = 0;    ///< of these, by the masks
};

/// Chooses which weights stay in every maskable matrix of recipe.attn_layers, by the recipe's
/// criterion (its element scores), pattern and sparsity, and leaves the masks in `files`.
/// Each expert of a mixture is a matrix of its own. `zeros`: how many, where matrices differ.
/// By the criterion's needs: weights alone are read layer by layer; statistics of the forward pass
/// are those behind the layers masked so far; gradients are those of the dense model. `batches` may
/// be empty for criteria that need no calibration. `store`, where given, takes hidden states and
/// makes the work resumable: layers whose masks an earlier process left are not done again.
/// Returns the mean calibration loss in nats per token: of the model as it was, where the backward
/// pass ran; of the masked model, where the forward pass ran; 0 where neither was needed.
/// Memory: one layer, its scores of one matrix, and what BlockStream says.
/// Throws InvalidArgument where batches are missing; Numeric for scores or a loss that are not
/// finite; Interrupted; Io.
double choose_masks(const Model& model, const PruneRecipe& recipe,
                    const std::vector<TokenBatch>& batches, const LayerFiles& files,
                    StreamStore* store, const std::vector<PlanZeros>& zeros = {});

/// How many weights and zeros there are in the masks of a folder.
MaskSummary count_masks(const Model& model, const LayerFiles& files);

}  // namespace prunus
