#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/calib/vocab_pass.h"
#include "prunus/model/model.h"
#include "prunus/pipeline/divergence.h"
#include "prunus/pipeline/plan.h"
#include "prunus/solve/solver.h"
#include "prunus/solve/sub_block_part.h"

namespace prunus {

/// What a part of a layer may become.
struct PartLevel {
  std::vector<PlanEntry> entries;  ///< empty: it stays whole, or is dropped
  at::Tensor columns;              ///< int64: inputs of o_proj or down_proj that stay
  int64_t parameters = 0;          ///< of the part that are left
  int64_t bytes = 0;               ///< the same in the source's dtypes

  /// The part goes as a whole: the residual stream passes it unchanged.
  bool dropped() const { return columns.numel() == 0; }
};

/// One attention or feed-forward part and its levels; the last one is the whole part.
struct PartLevels {
  int layer = 0;
  Part part = Part::Attention;
  std::vector<PartLevel> levels;

  size_t whole() const { return levels.size() - 1; }
};

/// KL(dense ‖ pruned) in nats a token of models that differ from a base model in one part.
struct Sensitivity {
  double base = 0;                      ///< of the base model
  std::vector<std::vector<double>> kl;  ///< [part][level]; NaN where it was not measured
};

/// Measures what single parts cost at their levels, all in one walk: at each part, the levels asked
/// for begin a stream of held-out text of their own, which the layers behind take along, those of
/// the base. A level's matrix is fitted to what the whole one gives on the calibration text
/// (least squares, β = 0), behind the base's parts; a dropped part has none. The distributions are
/// those over the `vocabulary` ids that come most often in the two texts, renormalised. Memory: a
/// layer, the sums of one matrix, the calibration's stream and the inputs of one of its matrices,
/// and a stream of held-out text for every level measured.
class SensitivityMeter {
 public:
  struct Options {
    at::Device device = at::Device(at::kCPU);
    double ridge = 0.1;
    int64_t vocabulary = 8192;
    /// Tokens count in the sums by 1 / mean square of the stream behind the whole part, as in
    /// solve/refit.h.
    bool token_weights = true;
    /// Gives a part's levels anew, as many of the same sizes: by its layer's whole weights, the
    /// sums Σ ω·x·xᵀ (FP64, CPU) of what enters its last matrix behind the base's parts, and the
    /// number of tokens in them. Null: levels stay as they are.
    std::function<PartLevels(const PartLevels& part, const BlockWeights& weights,
                             const at::Tensor& moments, int64_t tokens)>
        choose = nullptr;
  };
  /// Keeps references to the model and the texts. Throws
  /// Unsupported: norms behind the sum of a part and the stream (post-norm models).
  SensitivityMeter(const Model& dense, std::vector<PartLevels> parts,
                   const std::vector<TokenBatch>& calibration,
                   const std::vector<TokenBatch>& held_out, Options options);

  /// `base[p]`: the level of part p in the base model; `wanted[p]`: levels to measure, on the first
  /// `texts` batches of the held-out text. The base is measured on all of it.
  /// Throws Numeric; Interrupted.
  Sensitivity measure(const std::vector<size_t>& base,
                      const std::vector<std::vector<size_t>>& wanted, size_t texts);
  /// As they were in the last measure().
  const std::vector<PartLevels>& parts() const { return parts_; }
  /// Goes on behind a measure() of an earlier process, which left these parts.
  void restore(std::vector<PartLevels> parts) { parts_ = std::move(parts); }

 private:
  std::vector<at::Tensor> dense_text() const;

  const Model& dense_;
  std::vector<PartLevels> parts_;
  const std::vector<TokenBatch>& calibration_;
  const std::vector<TokenBatch>& held_out_;
  Options options_;
  Divergence divergence_;
};

/// The plan with each part of `model` at its level.
Plan plan_of_levels(const Model& model, const std::vector<PartLevels>& parts,
                    const std::vector<size_t>& levels);

}  // namespace prunus
