#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"
#include "prunus/model/overlay.h"
#include "prunus/solve/solver.h"

namespace prunus {

/// One matrix after its update.
struct RefitResult {
  int layer = 0;            ///< of the pruned model
  std::string part;         ///< "attention" (o_proj) or "ffn" (down_proj)
  double error_before = 0;  ///< Σ ω·‖t − W·x‖² / Σ ω·‖t‖² over the calibration's tokens
  double error_after = 0;
};

/// Whether every part's output matrix can be updated: o_proj always, down_proj where the layer is
/// no mixture. Those of mixtures stay as they are.
bool refits(const Model& pruned, int layer, bool attention);

/// Updates o_proj and down_proj of every layer of a pruned model, first layer first, each behind
/// those updated before it, so that each part adds to its stream what it should (two_streams.h).
/// Where a norm follows the part (sandwich norms), the target is brought in front of it: the
/// direction is what is wanted, the size what the dense part gives. Post-norm models
/// (OPT-350M) are fitted to the dense part's output alone.
/// `pruned` has biases where the solver adds some (with_zero_biases). Both models are streamed:
/// peak memory is one layer of each, the sums of one matrix, (in + out)·in FP64, two hidden states
/// per token, and one batch's activations.
/// `done` and `restored` as those of repair_sub_blocks(). Values are rounded to the file's dtypes
/// before the next part sees them. Throws InvalidArgument: options out of range, models that do
/// not fit (check_two_streams); Corrupt: restored tensors that are not the layer's; Numeric;
/// Interrupted. Source: structured OBS with residual targets; GRAIL, arXiv:2602.23795.
std::vector<RefitResult> refit_outputs(
    const Model& pruned, const Model& dense, const std::vector<int64_t>& dense_layers,
    const std::vector<TokenBatch>& rows, at::Device device, const Solver& solver,
    const SolverOptions& options,
    const std::function<void(int layer, const std::vector<OverlayTensor>&)>& done,
    const std::function<std::vector<OverlayTensor>(int layer)>& restored = {});

}  // namespace prunus
