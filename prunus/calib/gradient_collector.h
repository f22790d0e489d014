#pragma once
#include <functional>
#include <map>
#include <utility>

#include "prunus/calib/collector.h"
#include "prunus/calib/weight_stats.h"

namespace prunus {

/// Whether a bias counts in the saliency of its row: it goes when the row goes, and b·∂L/∂b is its
/// term of the Taylor expansion. LLM-Pruner leaves it out.
enum class Biases { Counted, Ignored };

/// Turns the backward pass of the block stream into WeightStats and hands each to `sink` as soon as
/// the last batch has passed, after which it is dropped: with one batch, never more than one
/// weight's gradient and one of its squares are in memory.
/// stats::gradient: dL/dW = Σ_t grad_output[t]ᵀ · input[t].
/// stats::squared_gradient: the same for one sample at a time, squared and added up in the stream's
/// precision (FP32 or FP64, never half); the sample's gradient exists for a few rows at a time.
/// stats::saliency: for a row k of y = W·x + b, Σ_i W[k,i]·g[k,i] + b[k]·g_b[k] = Σ_t y[t,k] ·
/// ∂L/∂y[t,k], or without the bias's term Σ_t (y − b)[t,k] · ∂L/∂y[t,k]; for
/// a column likewise Σ_t x[t,k] · ∂L/∂x[t,k] (docs/design.md section 2.4). Summed in FP64.
/// The experts of a mixture are one weight here: each adds to its part of the joined matrix, and
/// `sink` gets that when the last batch has passed through all of them. An expert's own tokens are
/// all that count for its part, so that of one that no token chose is 0.
class GradientCollector : public Collector {
 public:
  using Sink = std::function<void(const LinearSite&, const WeightStats&)>;
  using Wanted = std::function<bool(int layer, Role role)>;
  /// `wanted` says which weights matter; others cost nothing. A weight that comes some rows at a
  /// time reaches `sink` so, too, except that saliency is given once, for all rows.
  GradientCollector(Needs needs, Wanted wanted, Sink sink, Biases biases = Biases::Counted)
      : needs_(needs), biases_(biases), wanted_(std::move(wanted)), sink_(std::move(sink)) {}

  bool wants(int layer, Role role) const override { return wanted_(layer, role); }
  bool wants_grad_input() const override { return needs_.has(stats::saliency); }
  void on_backward(const LinearSite& site, const at::Tensor& input, const at::Tensor& output,
                   const at::Tensor& grad_output, const at::Tensor& grad_input) override;
  void on_scale_backward(const LinearSite& site, const at::Tensor& normalised,
                         const at::Tensor& grad_output) override;

 private:
  struct Pending {
    WeightStats stats;
    int experts_done = 0;  // that the last batch has passed through
  };
  void add_gradients(WeightStats& stats, const LinearSite& site, const at::Tensor& input,
                     const at::Tensor& grad_output) const;
  void add_saliency(WeightStats& stats, const LinearSite& site, const at::Tensor& input,
                    const at::Tensor& output, const at::Tensor& grad_output,
                    const at::Tensor& grad_input) const;
  void hand_over(const LinearSite& site);

  Needs needs_;
  Biases biases_;
  Wanted wanted_;
  Sink sink_;
  std::map<std::pair<int, Role>, Pending> pending_;
};

}  // namespace prunus
