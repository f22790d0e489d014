#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

namespace prunus {

/// A batch of hidden states, or gradients of them, that waits for its turn: in host memory, so that
/// an accelerator holds one batch at a time, however long the text. There already: the tensor
/// itself, without a copy. Of CUDA's memory: a copy in page-locked memory, from where the way back,
/// `tensor.to(device)`, is fastest.
at::Tensor to_host(const at::Tensor& tensor);

/// What to_host's result takes: libtorch's page-locked memory comes in powers of two.
int64_t host_bytes(const at::Tensor& tensor);

}  // namespace prunus
