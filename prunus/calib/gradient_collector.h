#pragma once
#include <functional>
#include <map>
#include <utility>

#include "prunus/calib/collector.h"
#include "prunus/calib/weight_stats.h"

namespace prunus {

/// Turns the backward pass of the block stream into WeightStats and hands each to `sink` as soon as
/// the last batch has passed, after which it is dropped: with one batch, never more than one
/// weight gradient is in memory.
/// Needs::Gradient: dL/dW = Σ_t grad_output[t]ᵀ · input[t], in FP32.
/// Needs::Saliency: for a row k of y = W·x, Σ_i W[k,i]·g[k,i] = Σ_t (y − b)[t,k] · ∂L/∂y[t,k]; for
/// a column likewise Σ_t x[t,k] · ∂L/∂x[t,k] (docs/design.md section 2.4). Summed in FP64.
class GradientCollector : public Collector {
 public:
  using Sink = std::function<void(const LinearSite&, const WeightStats&)>;
  /// `wanted` says which sites matter; others cost nothing.
  GradientCollector(Needs needs, std::function<bool(const LinearSite&)> wanted, Sink sink)
      : needs_(needs), wanted_(std::move(wanted)), sink_(std::move(sink)) {}

  void on_backward(const LinearSite& site, const at::Tensor& input, const at::Tensor& output,
                   const at::Tensor& grad_output, const at::Tensor& grad_input) override;

 private:
  Needs needs_;
  std::function<bool(const LinearSite&)> wanted_;
  Sink sink_;
  std::map<std::pair<int, Role>, WeightStats> pending_;
};

}  // namespace prunus
