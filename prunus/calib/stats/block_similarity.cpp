// How little a layer changes the residual stream: the measure of layer dropping.
#include <numbers>

#include <ATen/ATen.h>

#include "prunus/calib/statistic.h"

namespace prunus {
namespace stats {
namespace {

// Σ cos and Σ angle/π over tokens, FP64 [2]. A token of norm 0 counts as unchanged where it stays
// 0, else as turned by a right angle.
void add(std::vector<at::Tensor>& sums, const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor before = x.to(at::kDouble);
  const at::Tensor after = y.to(at::kDouble);
  const at::Tensor norms =
      at::linalg_vector_norm(before, 2, {1}) * at::linalg_vector_norm(after, 2, {1});
  at::Tensor cosine = ((before * after).sum(1) / norms).clamp(-1, 1);
  const at::Tensor same = (before == after).all(1);
  cosine = at::where(norms > 0, cosine, same.to(at::kDouble));
  const at::Tensor both =
      at::stack({cosine.sum(), (cosine.acos() / std::numbers::pi).sum()}).to(at::kDouble);
  if (sums.empty()) {
    sums.push_back(both);
  } else {
    sums[0].add_(both);
  }
}

}  // namespace

const Statistic block_similarity{.name = "block_similarity",
                                 .source =
                                     "Men et al., arXiv:2403.03853, eq. 1; angle: Gromov et "
                                     "al., arXiv:2403.17887, section 3.2",
                                 .of = StatisticOf::Block,
                                 .bytes = [](int64_t /*channels*/) { return int64_t{16}; },
                                 .add = add};

}  // namespace stats

double block_cosine_of(const StatisticSums& sums) {
  return sums.sums.at(0)[0].item<double>() / static_cast<double>(sums.tokens);
}

double block_angle_of(const StatisticSums& sums) {
  return sums.sums.at(0)[1].item<double>() / static_cast<double>(sums.tokens);
}

}  // namespace prunus
