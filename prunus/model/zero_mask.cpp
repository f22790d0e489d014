#include "prunus/model/zero_mask.h"

#include <ATen/ATen.h>

namespace prunus {

std::optional<at::Tensor> keep_mask(const at::Tensor& weight) {
  if (weight.dim() != 2 || weight.numel() == 0) return std::nullopt;
  const at::Tensor keep = weight != 0;
  const int64_t zeros = weight.numel() - keep.sum().item<int64_t>();
  if (static_cast<double>(zeros) < kSparseShare * static_cast<double>(weight.numel())) {
    return std::nullopt;
  }
  return keep;
}

}  // namespace prunus
