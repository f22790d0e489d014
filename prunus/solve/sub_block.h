#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"
#include "prunus/model/overlay.h"
#include "prunus/train/optimizer.h"

namespace prunus {

struct SubBlockOptions {
  int64_t epochs = 8;      ///< passes over the training rows for each sub-block, ≥ 1
  int64_t batch_rows = 4;  ///< rows per update, ≥ 1
  /// Peak of a cosine after a tenth of the steps of warm-up, > 0. Measured best: 1e-2 to 2e-2 at
  /// hidden_size 64, 3e-3 to 5e-3 at 128 and 192, where 1e-2 loses much of the gain; wider models
  /// may want less.
  double lr = 3e-3;
  /// How much of the error of the layers before is to be made up for as well, [0, 1]: the target is
  /// (1 − β)·f(x̂) + β·(f(x) + x − x̂), f the dense sub-block, x̂ the pruned and x the dense model's
  /// hidden states. 0: the dense sub-block's output on what the pruned model gives it.
  double residual_correction = 0.5;
  double valid_fraction = 0.1;  ///< share of the rows that judge each sub-block, not trained on
  bool train_norms = true;      ///< the norms in front of a sub-block and behind it are trained too
  uint64_t seed = 0;            ///< order of the rows
};

/// One attention or feed-forward part after its repair.
struct SubBlockResult {
  int layer = 0;            ///< of the pruned model
  std::string part;         ///< "attention" or "ffn"
  double error_before = 0;  ///< Σ(target − output)² / Σ target² on the validation rows
  double error_after = 0;   ///< the same with the weights that were kept
  bool kept = false;        ///< false: training made it worse, the weights stay as they were
  int64_t steps = 0;
};

/// Trains the kept weights of one attention or feed-forward part at a time to give what the dense
/// model's part gives, on hidden states of the pruned and already repaired layers before it; no
/// labels, no backward pass through more than one part. Mean squared error, AdamW. Both models are
/// streamed: peak memory is one layer of each, AdamW's states of one part, and three hidden states
/// per token (x, x̂, and the target; two more where the parts of a layer stand beside each other).
/// Those parts read the layer's input; the feed-forward part still makes up for what the attention
/// part left of the difference of the streams. A part that the pruned model dropped is not trained:
/// its error, 1, is what the parts behind it may make up for. Zeros of a sparse weight (keep_mask()
/// in zero_mask.h) stay zero. `dense_layers[ℓ]`: which dense layer the pruned model's layer ℓ was.
/// `done` is called after each layer with its repaired tensors (the caller keeps them), in order;
/// where a layer's tensors already exist from an interrupted run, `restored(layer)` gives them
/// (else an empty list), and the layer is neither trained again nor given to `done`; its results
/// are reported as if it had been. Throws InvalidArgument: options out of range, another
/// hidden_size or vocabulary, a layer list that does not fit; Corrupt: restored tensors that are
/// not the layer's; Numeric where an error is not finite; Interrupted. Source: block
/// reconstruction, Li et al. (BRECQ), arXiv:2102.05426, applied to pruned weights.
std::vector<SubBlockResult> repair_sub_blocks(
    const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
    const std::vector<TokenBatch>& rows, at::Device device, const SubBlockOptions& options,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored = {});

}  // namespace prunus
