#include <ATen/ATen.h>

#include "prunus/calib/weight_sums.h"

namespace prunus {
namespace stats {
namespace {

void add_product(StatisticSums& sums, const BackwardProduct& product, Biases biases) {
  sums.sums.resize(1);
  add_sample_gradients(sums.sums[0], nullptr, product);
  const at::Tensor bias = bias_gradients(product, biases);
  if (!bias.defined()) return;
  sums.bias_sums.resize(1);
  add_to(sums.bias_sums[0], bias.square().sum(0) * static_cast<double>(product.site.samples));
}

void add_gain(StatisticSums& sums, const BackwardGain& gain, Biases /*biases*/) {
  sums.sums.resize(1);
  add_to(sums.sums[0], gain_gradients(gain).square().sum(0).unsqueeze(1) *
                           static_cast<double>(gain.site.samples));
}

}  // namespace

const Statistic squared_gradient{
    .name = "squared_gradient",
    .source = "arXiv:2305.11627, second order: the diagonal of the Fisher matrix",
    .of = StatisticOf::Weight,
    .pass = Pass::Backward,
    .add_product = add_product,
    .add_gain = add_gain};

}  // namespace stats

at::Tensor squared_gradient_of(const StatisticSums& sums) { return sums.sums.at(0); }

}  // namespace prunus
