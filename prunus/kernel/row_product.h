#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/base/cpu.h"

namespace prunus::kernel {

/// Up to so many rows weights are read no faster than they are multiplied.
inline constexpr int64_t kMostRows = 8;

/// Whether row_product() takes this weight: BF16 or F16 on a CPU, rows contiguous.
bool takes_row_product(const at::Tensor& weight);

/// y = x·Wᵀ + b of few rows at the speed at which memory gives the weights, which are widened in
/// registers. x [rows, in], rows ≤ kMostRows, FP32, BF16 or F16; weight [out, in] as
/// takes_row_product(); bias [out] or undefined; y [rows, out] contiguous, of any of the three
/// types. Products and sums are FP32. On libtorch's threads; the result does not depend on their
/// number, nor on which rows come together. Carries no gradients.
void row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 at::Tensor& y, CpuLevel level = cpu_level());

}  // namespace prunus::kernel
