// Mean and variance of input channels: FLAP's fluctuation, and the bias that makes up for a channel
// that is cut.
#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"

namespace prunus {
namespace stats {
namespace {

// Σ x and Σ x², FP64 [channels]. In FP64 their difference loses 2·log₁₀(mean/deviation) of 16
// digits, so sums that can be merged are enough.
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& /*y*/) {
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor both[] = {wide.sum(0), wide.square().sum(0)};
  if (sums.empty()) {
    sums.assign(std::begin(both), std::end(both));
  } else {
    for (size_t i = 0; i < 2; ++i) sums[i].add_(both[i]);
  }
}

}  // namespace

const Statistic input_moments{.name = "input_moments",
                              .source = "An et al., arXiv:2312.11983, eq. 3-5",
                              .bytes = [](int64_t channels) { return 16 * channels; },
                              .add = add};

}  // namespace stats

at::Tensor input_mean_of(const StatisticSums& sums) {
  return sums.sums.at(0) / static_cast<double>(sums.tokens);
}

at::Tensor input_variance_of(const StatisticSums& sums) {
  const at::Tensor mean_square = sums.sums.at(1) / static_cast<double>(sums.tokens);
  return (mean_square - input_mean_of(sums).square()).clamp_min(0);
}

}  // namespace prunus
