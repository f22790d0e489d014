#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/base/cpu.h"

namespace prunus::kernel {

inline constexpr int64_t kMostHeadChannels = 256;

/// Whether attend_one_place() takes these: queries of a single place, FP32, BF16 or F16 on a CPU,
/// keys and values of one such type, channels of a head next to each other and at most
/// kMostHeadChannels.
bool takes_one_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// Attention of the newest place of each sequence on the cached keys and values, which are
/// widened in registers and not copied for the query heads that share them:
/// softmax(scale · q·kᵀ)·v over keys `first` to the last.
/// q [batch, heads, 1, d]; k, v [batch, kv_heads, length, d] of any strides but the last
/// → [batch, 1, heads·d] of v's type. FP32 inside; what is not finite gives NaN.
at::Tensor attend_one_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t first = 0, CpuLevel level = cpu_level());

/// The same of queries [batch, heads, d] in plain memory, FP32, into `out` of the same shape.
void attend_one_place(const float* q, int64_t heads, const at::Tensor& k, const at::Tensor& v,
                      double scale, int64_t first, float* out, CpuLevel level = cpu_level());

}  // namespace prunus::kernel
