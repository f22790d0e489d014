// The gradient and its squares by sample, from the same products.
#include <ATen/ATen.h>

#include "prunus/calib/weight_sums.h"

namespace prunus {
namespace stats {
namespace {

void add_product(StatisticSums& sums, const BackwardProduct& product, Biases biases) {
  sums.sums.resize(2);
  add_sample_gradients(sums.sums[1], &sums.sums[0], product);
  const at::Tensor bias = bias_gradients(product, biases);
  if (!bias.defined()) return;
  sums.bias_sums.resize(2);
  add_to(sums.bias_sums[0], bias.sum(0));
  add_to(sums.bias_sums[1], bias.square().sum(0) * static_cast<double>(product.site.samples));
}

void add_gain(StatisticSums& sums, const BackwardGain& gain, Biases /*biases*/) {
  sums.sums.resize(2);
  const at::Tensor by_sample = gain_gradients(gain);
  add_to(sums.sums[0], by_sample.sum(0).unsqueeze(1));
  add_to(sums.sums[1],
         by_sample.square().sum(0).unsqueeze(1) * static_cast<double>(gain.site.samples));
}

}  // namespace

const Statistic sample_gradients{.name = "sample_gradients",
                                 .source = "arXiv:2305.11627, both orders",
                                 .of = StatisticOf::Weight,
                                 .pass = Pass::Backward,
                                 .add_product = add_product,
                                 .add_gain = add_gain};

}  // namespace stats

SampleGradients sample_gradients_of(const StatisticSums& sums) {
  return {sums.sums.at(0), sums.sums.at(1)};
}

}  // namespace prunus
