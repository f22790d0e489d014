#include <ATen/ATen.h>

#include "prunus/calib/weight_sums.h"

namespace prunus {
namespace stats {
namespace {

// dL/dW, and dL/db.
void add_product(StatisticSums& sums, const BackwardProduct& product, Biases biases) {
  sums.sums.resize(1);
  add_gradient(sums.sums[0], product);
  const at::Tensor bias = bias_gradients(product, biases);
  if (!bias.defined()) return;
  sums.bias_sums.resize(1);
  add_to(sums.bias_sums[0], bias.sum(0));
}

void add_gain(StatisticSums& sums, const BackwardGain& gain, Biases /*biases*/) {
  sums.sums.resize(1);
  add_to(sums.sums[0], gain_gradients(gain).sum(0).unsqueeze(1));
}

}  // namespace

const Statistic gradient{.name = "gradient",
                         .source = "arXiv:2305.11627, first order",
                         .of = StatisticOf::Weight,
                         .pass = Pass::Backward,
                         .add_product = add_product,
                         .add_gain = add_gain};

}  // namespace stats

at::Tensor gradient_of(const StatisticSums& sums) { return sums.sums.at(0); }

}  // namespace prunus
