#include "prunus/calib/gradient_collector.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace prunus {
namespace {

// A sample's gradient is formed this many elements at a time, so that squaring it reads cache and
// not memory.
constexpr int64_t kTileElements = int64_t{1} << 18;

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

// gradient += and squares += of every sample's dyᵀ·x; `gradient` may be undefined.
// The loss is a mean over `samples`: a sample's own gradient is `samples` times its part of it.
void add_squares(const at::Tensor& gradient, const at::Tensor& squares, const at::Tensor& input,
                 const at::Tensor& grad_output, int64_t samples) {
  const int64_t out = grad_output.size(2);
  const int64_t columns = input.size(2);
  const int64_t step = std::clamp<int64_t>(kTileElements / columns, 1, out);
  at::Tensor memory = at::empty({step, columns}, input.options());
  for (int64_t begin = 0; begin < out; begin += step) {
    const int64_t rows = std::min(step, out - begin);
    at::Tensor tile = memory.narrow(0, 0, rows);
    at::Tensor square = squares.narrow(0, begin, rows);
    for (int64_t sample = 0; sample < input.size(0); ++sample) {
      at::mm_out(tile, grad_output[sample].narrow(1, begin, rows).t(), input[sample]);
      square.addcmul_(tile, tile, static_cast<double>(samples));
      if (gradient.defined()) gradient.narrow(0, begin, rows).add_(tile);
    }
  }
}

}  // namespace

void GradientCollector::add_gradients(WeightStats& stats, const at::Tensor& input,
                                      const at::Tensor& grad_output, int64_t samples) const {
  const std::vector<int64_t> shape{grad_output.size(2), input.size(2)};
  if ((needs_.has(stats::squared_gradient) || needs_.has(stats::sample_gradients))) {
    if (!stats.squared_gradient.defined()) {
      stats.squared_gradient = at::zeros(shape, input.options());
      if (needs_.has(stats::sample_gradients)) stats.gradient = at::zeros(shape, input.options());
    }
    add_squares(stats.gradient, stats.squared_gradient, input, grad_output, samples);
    return;
  }
  const at::Tensor x = input.flatten(0, 1);
  const at::Tensor dy = grad_output.flatten(0, 1);
  if (stats.gradient.defined()) {
    stats.gradient.addmm_(dy.t(), x);
  } else {
    stats.gradient = at::mm(dy.t(), x);
  }
}

void GradientCollector::on_backward(const LinearSite& site, const at::Tensor& input,
                                    const at::Tensor& output, const at::Tensor& grad_output,
                                    const at::Tensor& grad_input) {
  if (!wants(site.layer, site.role)) return;
  WeightStats& stats = pending_[{site.layer, site.role}];
  stats.weight = site.weight;
  if (needs_.has(stats::saliency)) {
    if (output.defined()) {
      const bool without = site.bias.defined() && biases_ == Biases::Ignored;
      const at::Tensor product = without ? output - site.bias : output;
      accumulate(stats.row_saliency, channel_dot(product, grad_output));
    }
    accumulate(stats.column_saliency, channel_dot(input, grad_input));
    if (site.last_batch && site.last_rows) hand_over(site);
  } else {
    add_gradients(stats, input, grad_output, site.samples);
    if (site.bias.defined() && biases_ == Biases::Counted) {
      const at::Tensor by_sample = grad_output.sum(1);  // [batch, out]
      stats.bias = site.bias;
      accumulate(stats.bias_gradient, by_sample.sum(0));
      accumulate(stats.squared_bias_gradient,
                 by_sample.square().sum(0) * static_cast<double>(site.samples));
    }
    if (site.last_batch) hand_over(site);
  }
}

void GradientCollector::on_scale_backward(const LinearSite& site, const at::Tensor& normalised,
                                          const at::Tensor& grad_output) {
  if (!wants(site.layer, site.role)) return;
  WeightStats& stats = pending_[{site.layer, site.role}];
  const at::Tensor parts =
      (normalised * grad_output).sum(1, false, at::kDouble);  // [batch, hidden]
  stats.weight = site.weight.unsqueeze(1);
  accumulate(stats.gradient, parts.sum(0).unsqueeze(1));
  if (site.bias.defined() && biases_ == Biases::Counted) {
    accumulate(stats.bias_saliency,
               grad_output.flatten(0, 1).sum(0, false, at::kDouble) * site.bias);
  }
  accumulate(stats.squared_gradient,
             parts.square().sum(0).unsqueeze(1) * static_cast<double>(site.samples));
  if (!site.last_batch) return;
  stats.row_saliency = (stats.weight * stats.gradient).flatten();
  if (stats.bias_saliency.defined()) stats.row_saliency += stats.bias_saliency;
  hand_over(site);
}

void GradientCollector::hand_over(const LinearSite& site) {
  const auto found = pending_.find({site.layer, site.role});
  sink_(site, found->second);
  pending_.erase(found);
}

}  // namespace prunus
