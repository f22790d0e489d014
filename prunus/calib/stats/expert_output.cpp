// What each expert of a mixture adds to the residual stream. Its inner channels are multiplied by
// its share g_e(x) before its down projection (model/mixture.h), which has no bias and therefore
// puts out g_e(x)·f_e(x). A token counts for every expert that it chose, whatever that puts out:
// also where its share underflowed to 0, or its inner channels or its output are 0.
#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"

namespace prunus {
namespace stats {
namespace {

// Σ ‖x‖₂, in the stream's precision, added up in FP64.
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& /*y*/) {
  const at::Tensor norms = at::linalg_vector_norm(x, 2, {1}).sum(at::kDouble);
  if (sums.empty()) {
    sums.push_back(norms);
  } else {
    sums[0].add_(norms);
  }
}

}  // namespace

const Statistic expert_output{.name = "expert_output",
                              .source = "Lasby et al., arXiv:2510.13999",
                              .of = StatisticOf::Expert,
                              .bytes = [](int64_t /*channels*/) { return int64_t{8}; },
                              .add = add};

}  // namespace stats

at::Tensor mean_expert_output_of(std::span<const StatisticSums> experts) {
  std::vector<at::Tensor> norms;
  std::vector<int64_t> tokens;
  for (const StatisticSums& one : experts) {
    norms.push_back(one.sums.at(0));
    tokens.push_back(one.tokens);
  }
  const at::Tensor sums = at::stack(norms);
  return sums / at::tensor(tokens, sums.options()).clamp_min(1);
}

}  // namespace prunus
