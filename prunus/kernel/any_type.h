#pragma once
#include <ATen/core/Tensor.h>

namespace prunus::kernel {

/// Calls use(static_cast<T*>(nullptr)) with the C++ type of an FP32, BF16 or F16 tensor.
template <typename Use>
void with_type(at::ScalarType type, Use use) {
  if (type == at::kBFloat16) return use(static_cast<c10::BFloat16*>(nullptr));
  if (type == at::kHalf) return use(static_cast<c10::Half*>(nullptr));
  TORCH_INTERNAL_ASSERT(type == at::kFloat, "kernels take FP32, BF16, F16, got ", type);
  use(static_cast<float*>(nullptr));
}

inline bool is_float_up_to_32(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
}

}  // namespace prunus::kernel
