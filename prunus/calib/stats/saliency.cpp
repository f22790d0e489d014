// W·∂L/∂W of rows and columns without the gradient (docs/design.md section 2.4): for a row k of
// y = W·x + b, Σ_i W[k,i]·g[k,i] + b[k]·g_b[k] = Σ_t y[t,k]·∂L/∂y[t,k], or without the bias's term
// Σ_t (y − b)[t,k]·∂L/∂y[t,k]; for a column likewise Σ_t x[t,k]·∂L/∂x[t,k].
#include <ATen/ATen.h>

#include "prunus/calib/weight_sums.h"

namespace prunus {
namespace stats {
namespace {

// Of a product the first two, of a gain the others; all FP64.
enum Sum : size_t {
  kRows,          // [out]
  kColumns,       // [in]
  kGainGradient,  // [hidden_size, 1]
  kGainBias,      // b·∂L/∂b, [hidden_size]
  kCount,
};

// Σ over tokens of a·b per channel.
at::Tensor channel_dot(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).flatten(0, -2).sum(0, false, at::kDouble);
}

void add_product(StatisticSums& sums, const BackwardProduct& product, Biases biases) {
  sums.sums.resize(kCount);
  const LinearSite& site = product.site;
  if (product.output.defined()) {
    const bool without = site.bias.defined() && biases == Biases::Ignored;
    const at::Tensor output = without ? product.output - site.bias : product.output;
    add_along(sums.sums[kRows], channel_dot(output, product.grad_output), site, 0);
  }
  add_along(sums.sums[kColumns], channel_dot(product.input, product.grad_input), site, 1);
}

void add_gain(StatisticSums& sums, const BackwardGain& gain, Biases biases) {
  sums.sums.resize(kCount);
  add_to(sums.sums[kGainGradient], gain_gradients(gain).sum(0).unsqueeze(1));
  if (!gain.site.bias.defined() || biases == Biases::Ignored) return;
  add_to(sums.sums[kGainBias],
         gain.grad_output.flatten(0, 1).sum(0, false, at::kDouble) * gain.site.bias);
}

}  // namespace

const Statistic saliency{.name = "saliency",
                         .source = "arXiv:2305.11627 eq. 3",
                         .of = StatisticOf::Weight,
                         .pass = Pass::Backward,
                         .add_product = add_product,
                         .add_gain = add_gain,
                         .grad_input = true,
                         .over_rows = true};

}  // namespace stats

at::Tensor row_saliency_of(const StatisticSums& sums, const at::Tensor& weight) {
  const at::Tensor& gain = sums.sums.at(stats::kGainGradient);
  if (!gain.defined()) return sums.sums[stats::kRows];
  at::Tensor rows = (weight * gain).flatten();
  const at::Tensor& bias = sums.sums[stats::kGainBias];
  return bias.defined() ? rows.add_(bias) : rows;
}

at::Tensor column_saliency_of(const StatisticSums& sums) { return sums.sums.at(stats::kColumns); }

}  // namespace prunus
