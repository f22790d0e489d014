#include "prunus/calib/statistic.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

void add(std::vector<at::Tensor>& sums, const std::vector<at::Tensor>& others) {
  TORCH_INTERNAL_ASSERT(sums.size() == others.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    TORCH_INTERNAL_ASSERT(sums[i].defined() == others[i].defined());
    if (!sums[i].defined()) continue;
    TORCH_INTERNAL_ASSERT(sums[i].sizes() == others[i].sizes());
    sums[i].add_(others[i].to(sums[i].device()));
  }
}

}  // namespace

void StatisticSums::merge(const StatisticSums& other) {
  if (tokens == 0) {
    *this = other;
    for (auto* all : {&sums, &bias_sums}) {
      for (at::Tensor& sum : *all) {
        if (sum.defined()) sum = sum.clone();
      }
    }
    return;
  }
  if (other.tokens == 0) return;
  add(sums, other.sums);
  add(bias_sums, other.bias_sums);
  tokens += other.tokens;
}

int64_t StatisticSums::bytes() const {
  int64_t bytes = 0;
  for (const auto* all : {&sums, &bias_sums}) {
    for (const at::Tensor& sum : *all) {
      if (sum.defined()) bytes += static_cast<int64_t>(sum.nbytes());
    }
  }
  return bytes;
}

}  // namespace prunus
