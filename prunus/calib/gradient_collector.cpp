#include "prunus/calib/gradient_collector.h"

#include <ATen/ATen.h>

namespace prunus {
namespace {

void accumulate(at::Tensor& total, const at::Tensor& part) {
  if (total.defined()) {
    total.add_(part);
  } else {
    total = part;
  }
}

// Σ over tokens of a·b per channel, in FP64.
at::Tensor channel_dot(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).flatten(0, 1).sum(0, false, at::kDouble);
}

}  // namespace

void GradientCollector::on_backward(const LinearSite& site, const at::Tensor& input,
                                    const at::Tensor& output, const at::Tensor& grad_output,
                                    const at::Tensor& grad_input) {
  if (!wanted_(site)) return;
  WeightStats& stats = pending_[{site.layer, site.role}];
  stats.weight = site.weight;
  if (needs_ == Needs::Gradient) {
    const at::Tensor x = input.flatten(0, 1);
    const at::Tensor dy = grad_output.flatten(0, 1);
    if (stats.gradient.defined()) {
      stats.gradient.addmm_(dy.t(), x);
    } else {
      stats.gradient = at::mm(dy.t(), x);
    }
  } else {
    const at::Tensor product = site.bias.defined() ? output - site.bias : output;
    accumulate(stats.row_saliency, channel_dot(product, grad_output));
    accumulate(stats.column_saliency, channel_dot(input, grad_input));
  }
  if (!site.last_batch) return;
  sink_(site, stats);
  pending_.erase({site.layer, site.role});
}

}  // namespace prunus
