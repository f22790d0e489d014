#include "prunus/calib/weight_sums.h"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>

#include "prunus/model/matmul.h"

namespace prunus {
namespace {

// A sample's gradient is formed this many elements at a time, so that squaring it reads cache and
// not memory.
constexpr int64_t kTileElements = int64_t{1} << 18;

// What the site's weight, or that of all experts, has the place of: zeros at first.
at::Tensor room(at::Tensor& sum, const LinearSite& site, const at::TensorOptions& options) {
  const ExpertPart& part = site.part;
  if (!sum.defined()) {
    sum = at::zeros((part.present() ? part.joined : site.weight).sizes(), options);
  }
  return part.present() ? part.part_of(sum, part.dim) : sum;
}

// x and ∂L/∂y of one sample's tokens, [tokens, in] and [tokens, out].
struct Sample {
  at::Tensor input;
  at::Tensor grad_output;
};

std::vector<Sample> samples_of(const BackwardProduct& product) {
  const at::Tensor& input = product.input;
  const at::Tensor& grad_output = product.grad_output;
  std::vector<Sample> samples;
  if (!product.site.part.present()) {
    for (int64_t i = 0; i < input.size(0); ++i) samples.push_back({input[i], grad_output[i]});
    return samples;
  }
  int64_t begin = 0;
  for (const int64_t tokens : product.site.part.row_tokens) {
    if (tokens > 0) {
      samples.push_back({input.narrow(0, begin, tokens), grad_output.narrow(0, begin, tokens)});
    }
    begin += tokens;
  }
  return samples;
}

}  // namespace

void add_to(at::Tensor& sum, const at::Tensor& part) {
  if (sum.defined()) {
    sum.add_(part);
  } else {
    sum = part;
  }
}

void add_along(at::Tensor& sum, const at::Tensor& part, const LinearSite& site, int64_t axis) {
  if (!site.part.present()) {
    add_to(sum, part);
    return;
  }
  if (!sum.defined()) sum = at::zeros({site.part.joined.size(axis)}, part.options());
  (site.part.dim == axis ? site.part.part_of(sum, 0) : sum).add_(part);
}

void add_gradient(at::Tensor& sum, const BackwardProduct& product) {
  const at::Tensor x = product.input.flatten(0, -2);
  const at::Tensor dy = product.grad_output.flatten(0, -2);
  if (sum.defined() || product.site.part.present()) {
    at::Tensor own = room(sum, product.site, x.options());
    add_product(own, dy.t(), x);
  } else {
    sum = prunus::product(dy.t(), x);
  }
}

void add_sample_gradients(at::Tensor& squares, at::Tensor* gradient,
                          const BackwardProduct& product) {
  const LinearSite& site = product.site;
  const at::Tensor own_squares = room(squares, site, product.input.options());
  at::Tensor own_gradient;
  if (gradient != nullptr) own_gradient = room(*gradient, site, product.input.options());
  const std::vector<Sample> samples = samples_of(product);
  const auto count = static_cast<double>(site.samples);
  const int64_t out = own_squares.size(0);
  const int64_t columns = own_squares.size(1);
  const int64_t step = std::clamp<int64_t>(kTileElements / columns, 1, out);
  const at::Tensor memory = at::empty({step, columns}, own_squares.options());
  for (int64_t begin = 0; begin < out; begin += step) {
    const int64_t rows = std::min(step, out - begin);
    at::Tensor tile = memory.narrow(0, 0, rows);
    const at::Tensor square = own_squares.narrow(0, begin, rows);
    for (const Sample& sample : samples) {
      product_out(tile, sample.grad_output.narrow(1, begin, rows).t(), sample.input);
      square.addcmul_(tile, tile, count);
      if (gradient != nullptr) own_gradient.narrow(0, begin, rows).add_(tile);
    }
  }
}

at::Tensor bias_gradients(const BackwardProduct& product, Biases biases) {
  const bool counts = product.site.bias.defined() && biases == Biases::Counted;
  return counts ? product.grad_output.sum(1) : at::Tensor();
}

at::Tensor gain_gradients(const BackwardGain& gain) {
  return (gain.normalised * gain.grad_output).sum(1, false, at::kDouble);
}

}  // namespace prunus
