// Norms of input channels, sample by sample: 2SSP's importance of neurons.
#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"

namespace prunus {
namespace stats {
namespace {

// Σ over samples of ‖x_k‖₂ over the sample's tokens, FP64 [channels], and the samples.
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& /*y*/) {
  const at::Tensor norms = at::linalg_vector_norm(x.to(at::kDouble), 2, {0}).flatten();
  if (sums.empty()) {
    sums = {norms, at::ones({}, norms.options())};
  } else {
    sums[0].add_(norms);
    sums[1].add_(1);
  }
}

}  // namespace

const Statistic sample_norm{.name = "sample_norm",
                            .source = "Sandri et al., 2SSP, arXiv:2501.17771, eq. 3",
                            .by_sample = true,
                            .bytes = [](int64_t channels) { return 8 * channels + 8; },
                            .add = add};

}  // namespace stats

at::Tensor mean_sample_norm_of(const StatisticSums& sums) {
  return sums.sums.at(0) / sums.sums.at(1);
}

}  // namespace prunus
