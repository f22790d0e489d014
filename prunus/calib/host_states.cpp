#include "prunus/calib/host_states.h"

#include <bit>

#include <ATen/ATen.h>

namespace prunus {

at::Tensor to_host(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  const auto options = at::TensorOptions(tensor.dtype()).pinned_memory(tensor.is_cuda());
  return at::empty(tensor.sizes(), options).copy_(tensor);
}

int64_t host_bytes(const at::Tensor& tensor) {
  const uint64_t bytes = tensor.nbytes();
  return static_cast<int64_t>(tensor.is_cuda() ? std::bit_ceil(bytes) : bytes);
}

}  // namespace prunus
