#include "prunus/calib/statistic.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {

void StatisticSums::merge(const StatisticSums& other) {
  if (tokens == 0) {
    *this = other;
    for (at::Tensor& sum : sums) sum = sum.clone();
    return;
  }
  if (other.tokens == 0) return;
  TORCH_INTERNAL_ASSERT(sums.size() == other.sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    TORCH_INTERNAL_ASSERT(sums[i].sizes() == other.sums[i].sizes());
    sums[i].add_(other.sums[i].to(sums[i].device()));
  }
  tokens += other.tokens;
}

int64_t StatisticSums::bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor& sum : sums) bytes += static_cast<int64_t>(sum.nbytes());
  return bytes;
}

}  // namespace prunus
