// How strongly the channels of an input are used, sample by sample: Minitron's importance.
#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"

namespace prunus {
namespace stats {
namespace {

// Σ over samples of m², FP64 [channels]: m is the mean over the sample's tokens of a group's norm,
// divided by the channels of the group.
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& /*y*/) {
  const int64_t width = x.size(2);
  const at::Tensor norms = at::linalg_vector_norm(x.to(at::kDouble), 2, {2});
  const auto tokens = static_cast<double>(std::max<int64_t>(1, x.size(0)));  // none: m = 0
  const at::Tensor mean = norms.sum(0) / (tokens * static_cast<double>(width));
  const at::Tensor squares = mean.square().repeat_interleave(width);
  if (sums.empty()) {
    sums.push_back(squares);
  } else {
    sums[0].add_(squares);
  }
}

}  // namespace

const Statistic input_activity{
    .name = "input_activity",
    .source = "Muralidharan et al., Minitron, arXiv:2407.14679, section 2.2",
    .by_sample = true,
    .bytes = [](int64_t channels) { return 8 * channels; },
    .add = add};

}  // namespace stats

at::Tensor input_activity_of(const StatisticSums& sums) { return sums.sums.at(0).sqrt(); }

}  // namespace prunus
