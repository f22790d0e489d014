#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace prunus {

struct BackwardGain;
struct BackwardProduct;

/// What has been added up of a statistic. Statistics are sums over tokens, so the order of the
/// tokens does not matter (up to rounding), and the sums of two processes are added.
struct StatisticSums {
  /// On the device; what they are is the statistic's to say. What nothing was added to may be
  /// undefined.
  std::vector<at::Tensor> sums;
  int64_t tokens = 0;  ///< that were added
  /// Of a weight whose bias counts, and where the sums have one value for each element: of each sum
  /// the same for the bias, [out].
  std::vector<at::Tensor> bias_sums = {};

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
  Weight,  ///< of the gradient of a weight, that of a matrix product or the gain of a norm
  Expert,  ///< of what each expert of a mixture puts out for the tokens that chose it
};

/// Whether a bias counts in what is known of its row: it goes when the row goes, and b·∂L/∂b is its
/// term of the Taylor expansion. LLM-Pruner leaves it out.
enum class Biases { Counted, Ignored };

/// What calibration can gather. One object per file of calib/stats: the collectors know none by
/// name.
struct Statistic {
  std::string_view name;
  std::string_view source;
  StatisticOf of = StatisticOf::Input;
  Pass pass = Pass::Forward;
  /// Of Input: every sample is added alone, as [tokens, groups, channels of a group]. The input of
  /// o_proj is grouped by attention heads, any other has groups of one channel. Of an expert: those
  /// of the sample's tokens that chose it, perhaps none.
  bool by_sample = false;
  /// Bytes of its sums for `channels` of the input (of the residual stream for Block and Expert),
  /// known before anything is run. Null for Weight: each sum [out, in] is as large as the weight.
  int64_t (*bytes)(int64_t channels) = nullptr;
  /// Of all but Weight. Adds tokens: `x` [tokens, channels]; for Block `x` is what enters and `y`
  /// what leaves the layer, else `y` is undefined. Updates sums in place after the first call.
  void (*add)(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& y) = nullptr;
  /// Of Weight. Adds a batch's tokens that went through a matrix product; the products of a
  /// mixture's experts each add to their part of one weight (calib/weight_sums.h).
  void (*add_product)(StatisticSums& sums, const BackwardProduct& product, Biases biases) = nullptr;
  /// Of Weight: the same for a gain, as a matrix [hidden_size, 1].
  void (*add_gain)(StatisticSums& sums, const BackwardGain& gain, Biases biases) = nullptr;
  /// Of Weight: reads BackwardProduct::grad_input, which costs head and embedding a product.
  bool grad_input = false;
  /// Of Weight: what comes some rows at a time is added up over all rows before it is read. False:
  /// it is read and dropped rows by rows.
  bool over_rows = false;
};

namespace stats {
/// Every statistic, by file name.
std::span<const Statistic* const> all();

extern const Statistic input_norm, input_moments, hessian, block_similarity, gradient,
    squared_gradient, sample_gradients, saliency, expert_output, input_activity, sample_norm;
}  // namespace stats

// What the sums say. Each takes those of the statistic that it names.

/// input_norm: ‖x_k‖₂ over all tokens of each channel k, FP64 [channels].
at::Tensor input_norm_of(const StatisticSums& sums);
/// input_moments: mean and variance (of the tokens, not an estimate: divided by their number) of
/// each channel, FP64 [channels].
at::Tensor input_mean_of(const StatisticSums& sums);
at::Tensor input_variance_of(const StatisticSums& sums);
/// input_activity: √(Σ_s m_s²) over samples s, m_s the mean of |x_k| over the sample's tokens; of
/// the channels of an attention head each that of the head's ‖x‖₂, divided by head_dim. FP64
/// [channels].
at::Tensor input_activity_of(const StatisticSums& sums);
/// sample_norm: mean over the samples of ‖x_k‖₂ over a sample's tokens, FP64 [channels].
at::Tensor mean_sample_norm_of(const StatisticSums& sums);
/// hessian: (2/T)·Σ_t x_t·x_tᵀ, that of the mean squared error of a layer's output by each row of
/// its weight; in the inputs' dtype [channels, channels].
at::Tensor hessian_of(const StatisticSums& sums);
/// block_similarity: mean cosine of what enters and what leaves a layer, and the mean angle between
/// them divided by π.
double block_cosine_of(const StatisticSums& sums);
double block_angle_of(const StatisticSums& sums);
/// expert_output: Σ ‖g_e(x)·f_e(x)‖₂ over the tokens x that chose an expert, divided by their
/// number (by 1 for none); of all experts of a layer, FP64 [experts].
at::Tensor mean_expert_output_of(std::span<const StatisticSums> experts);

// L is the mean loss over all N samples, L_j that of sample j alone: dL/dW = (1/N)·Σ_j ∂L_j/∂W. All
// are [out, in], of a gain [hidden_size, 1].

/// gradient: dL/dW.
at::Tensor gradient_of(const StatisticSums& sums);
/// squared_gradient: (1/N)·Σ_j (∂L_j/∂W)², the diagonal of the Fisher matrix.
at::Tensor squared_gradient_of(const StatisticSums& sums);
/// sample_gradients: both of them.
struct SampleGradients {
  at::Tensor gradient;
  at::Tensor squared;
};
SampleGradients sample_gradients_of(const StatisticSums& sums);
/// saliency: Σ_i W[k,i]·g[k,i] of each row k, signed, with the term of its bias where that counts;
/// FP64 [out]. Undefined for head and embedding, whose rows are not cut.
at::Tensor row_saliency_of(const StatisticSums& sums, const at::Tensor& weight);
/// saliency: Σ_o W[o,k]·g[o,k] of each column k, signed, FP64 [in]; undefined for a gain.
at::Tensor column_saliency_of(const StatisticSums& sums);

}  // namespace prunus
