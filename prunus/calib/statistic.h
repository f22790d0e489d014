#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace prunus {

/// What has been added up of a statistic. Statistics are sums over tokens, so the order of the
/// tokens does not matter (up to rounding), and the sums of two processes are added.
struct StatisticSums {
  std::vector<at::Tensor> sums;  ///< on the device; what they are is the statistic's to say
  int64_t tokens = 0;            ///< that were added

  /// Adds what another process gathered. Shapes must agree.
  void merge(const StatisticSums& other);
  int64_t bytes() const;
};

/// Where a statistic comes from: the model run on text, or the loss run back through it.
enum class Pass { Forward, Backward };

/// Of what a statistic is.
enum class StatisticOf {
  Input,   ///< of a distinct input of a layer's matrix products: q, k and v share one
  Block,   ///< of the residual stream in front of a layer and behind it
  Weight,  ///< of a weight's gradient
  Expert,  ///< of what each expert of a mixture puts out
};

/// What calibration can gather. One object per file of calib/stats.
struct Statistic {
  std::string_view name;
  std::string_view source;
  StatisticOf of = StatisticOf::Input;
  Pass pass = Pass::Forward;
  /// Bytes of its sums for `channels` of the input (of the residual stream for Block), known before
  /// anything is run.
  int64_t (*bytes)(int64_t channels) = nullptr;
  /// Null for StatisticOf::Weight and Expert: gathered by GradientCollector and
  /// ExpertOutputCollector, which see the products themselves.
  /// Adds tokens: `x` [tokens, channels]; for Block `x` is what enters and `y` what leaves the
  /// layer, else `y` is undefined. Updates sums in place after the first call.
  void (*add)(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& y) = nullptr;
};

namespace stats {
/// Every statistic, by file name.
std::span<const Statistic* const> all();

extern const Statistic input_norm, input_moments, hessian, block_similarity, gradient,
    squared_gradient, sample_gradients, saliency, expert_output;
}  // namespace stats

// What the sums say. Each takes those of the statistic that it names.

/// input_norm: ‖x_k‖₂ over all tokens of each channel k, FP64 [channels].
at::Tensor input_norm_of(const StatisticSums& sums);
/// input_moments: mean and variance (of the tokens, not an estimate: divided by their number) of
/// each channel, FP64 [channels].
at::Tensor input_mean_of(const StatisticSums& sums);
at::Tensor input_variance_of(const StatisticSums& sums);
/// hessian: (2/T)·Σ_t x_t·x_tᵀ, that of the mean squared error of a layer's output by each row of
/// its weight; in the inputs' dtype [channels, channels].
at::Tensor hessian_of(const StatisticSums& sums);
/// block_similarity: mean cosine of what enters and what leaves a layer, and the mean angle between
/// them divided by π.
double block_cosine_of(const StatisticSums& sums);
double block_angle_of(const StatisticSums& sums);

}  // namespace prunus
