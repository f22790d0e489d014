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
  return (a * b).flatten(0, -2).sum(0, false, at::kDouble);
}

// total += part, [out] for axis 0 of the weight and [in] for axis 1, an expert's in its place.
void accumulate(at::Tensor& total, const at::Tensor& part, const LinearSite& site, int64_t axis) {
  if (!site.part.present()) {
    accumulate(total, part);
    return;
  }
  if (!total.defined()) total = at::zeros({site.part.joined.size(axis)}, part.options());
  (site.part.dim == axis ? site.part.part_of(total, 0) : total).add_(part);
}

// What the site's weight, or that of all experts, has the place of: zeros at first.
at::Tensor room(at::Tensor& total, const LinearSite& site, const at::TensorOptions& options) {
  const ExpertPart& part = site.part;
  if (!total.defined()) {
    total = at::zeros((part.present() ? part.joined : site.weight).sizes(), options);
  }
  return part.present() ? part.part_of(total, part.dim) : total;
}

// x and ∂L/∂y of one sample's tokens, [tokens, in] and [tokens, out].
struct Sample {
  at::Tensor input;
  at::Tensor grad_output;
};

std::vector<Sample> samples_of(const LinearSite& site, const at::Tensor& input,
                               const at::Tensor& grad_output) {
  std::vector<Sample> samples;
  if (!site.part.present()) {
    for (int64_t i = 0; i < input.size(0); ++i) samples.push_back({input[i], grad_output[i]});
    return samples;
  }
  int64_t begin = 0;
  for (const int64_t tokens : site.part.row_tokens) {
    if (tokens > 0) {
      samples.push_back({input.narrow(0, begin, tokens), grad_output.narrow(0, begin, tokens)});
    }
    begin += tokens;
  }
  return samples;
}

// gradient += and squares += of every sample's dyᵀ·x; `gradient` may be undefined.
// The loss is a mean over `count` samples: one's own gradient is `count` times its part of it.
void add_squares(const at::Tensor& gradient, const at::Tensor& squares,
                 const std::vector<Sample>& samples, int64_t count) {
  const int64_t out = squares.size(0);
  const int64_t columns = squares.size(1);
  const int64_t step = std::clamp<int64_t>(kTileElements / columns, 1, out);
  at::Tensor memory = at::empty({step, columns}, squares.options());
  for (int64_t begin = 0; begin < out; begin += step) {
    const int64_t rows = std::min(step, out - begin);
    at::Tensor tile = memory.narrow(0, 0, rows);
    at::Tensor square = squares.narrow(0, begin, rows);
    for (const Sample& sample : samples) {
      at::mm_out(tile, sample.grad_output.narrow(1, begin, rows).t(), sample.input);
      square.addcmul_(tile, tile, static_cast<double>(count));
      if (gradient.defined()) gradient.narrow(0, begin, rows).add_(tile);
    }
  }
}

}  // namespace

void GradientCollector::add_gradients(WeightStats& stats, const LinearSite& site,
                                      const at::Tensor& input,
                                      const at::Tensor& grad_output) const {
  if (needs_.has(stats::squared_gradient) || needs_.has(stats::sample_gradients)) {
    const at::Tensor squares = room(stats.squared_gradient, site, input.options());
    at::Tensor gradient;
    if (needs_.has(stats::sample_gradients)) gradient = room(stats.gradient, site, input.options());
    add_squares(gradient, squares, samples_of(site, input, grad_output), site.samples);
    return;
  }
  const at::Tensor x = input.flatten(0, -2);
  const at::Tensor dy = grad_output.flatten(0, -2);
  if (stats.gradient.defined() || site.part.present()) {
    room(stats.gradient, site, input.options()).addmm_(dy.t(), x);
  } else {
    stats.gradient = at::mm(dy.t(), x);
  }
}

void GradientCollector::add_saliency(WeightStats& stats, const LinearSite& site,
                                     const at::Tensor& input, const at::Tensor& output,
                                     const at::Tensor& grad_output,
                                     const at::Tensor& grad_input) const {
  if (output.defined()) {
    const bool without = site.bias.defined() && biases_ == Biases::Ignored;
    const at::Tensor product = without ? output - site.bias : output;
    accumulate(stats.row_saliency, channel_dot(product, grad_output), site, 0);
  }
  accumulate(stats.column_saliency, channel_dot(input, grad_input), site, 1);
}

void GradientCollector::on_backward(const LinearSite& site, const at::Tensor& input,
                                    const at::Tensor& output, const at::Tensor& grad_output,
                                    const at::Tensor& grad_input) {
  if (!wants(site.layer, site.role)) return;
  Pending& pending = pending_[{site.layer, site.role}];
  WeightStats& stats = pending.stats;
  stats.weight = site.part.present() ? site.part.joined : site.weight;
  const bool saliency = needs_.has(stats::saliency);
  if (saliency) {
    add_saliency(stats, site, input, output, grad_output, grad_input);
  } else {
    add_gradients(stats, site, input, grad_output);
    if (site.bias.defined() && biases_ == Biases::Counted) {
      const at::Tensor by_sample = grad_output.sum(1);  // [batch, out]
      stats.bias = site.bias;
      accumulate(stats.bias_gradient, by_sample.sum(0));
      accumulate(stats.squared_bias_gradient,
                 by_sample.square().sum(0) * static_cast<double>(site.samples));
    }
  }
  if (!site.last_batch || (saliency && !site.last_rows)) return;
  if (!site.part.present() || ++pending.experts_done == site.part.experts) hand_over(site);
}

void GradientCollector::on_scale_backward(const LinearSite& site, const at::Tensor& normalised,
                                          const at::Tensor& grad_output) {
  if (!wants(site.layer, site.role)) return;
  WeightStats& stats = pending_[{site.layer, site.role}].stats;
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
  LinearSite whole = site;
  if (site.part.present()) {
    whole.weight = site.part.joined;
    whole.part = {};
  }
  sink_(whole, found->second.stats);
  pending_.erase(found);
}

}  // namespace prunus
