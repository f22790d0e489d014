#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/base/cpu.h"

namespace prunus::kernel {

struct NormRule {
  double eps = 0;
  bool centred = false;   ///< the mean is taken off first (LayerNorm)
  bool plus_one = false;  ///< the gain is 1 + weight
};

/// Whether norm() takes it: FP32, BF16 or F16 on a CPU, each row's channels together, no gradients
/// to come.
bool takes_norm(const at::Tensor& x);

/// (x − mean or 0) / √(mean square + eps) · gain + bias over the last axis, in one pass of memory.
/// x [..., n]; weight and bias [n] FP32, BF16 or F16, undefined for 1 and 0. → contiguous in the
/// order of x's memory, of type `out`, FP32 inside; sums in FP32 by lanes.
/// Source: arXiv:1910.07467, arXiv:1607.06450.
at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                const NormRule& rule, at::ScalarType out, CpuLevel level = cpu_level());

/// The same of `rows` rows of FP32 in plain memory, on the calling thread. weight and bias [n], as
/// above. y may be x.
void norm_rows(const float* x, int64_t rows, int64_t n, const at::Tensor& weight,
               const at::Tensor& bias, const NormRule& rule, float* y,
               CpuLevel level = cpu_level());

}  // namespace prunus::kernel
