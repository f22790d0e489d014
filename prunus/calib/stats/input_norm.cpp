// Norms of input channels: what Wanda multiplies magnitudes by.
#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"

namespace prunus {
namespace stats {
namespace {

// Σ x², FP64 [channels].
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& /*y*/) {
  const at::Tensor squares = x.square().sum(0, false, at::kDouble);
  if (sums.empty()) {
    sums.push_back(squares);
  } else {
    sums[0].add_(squares);
  }
}

}  // namespace

const Statistic input_norm{.name = "input_norm",
                           .source = "Sun et al., arXiv:2306.11695, eq. 1",
                           .bytes = [](int64_t channels) { return 8 * channels; },
                           .add = add};

}  // namespace stats

at::Tensor input_norm_of(const StatisticSums& sums) { return sums.sums.at(0).sqrt(); }

}  // namespace prunus
