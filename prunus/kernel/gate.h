#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/base/cpu.h"

namespace prunus::kernel {

enum class Gate { Silu, GeluTanh };

/// Whether gate() takes these: of one type of FP32, BF16, F16, contiguous on a CPU, no gradients to
/// come.
bool takes_gate(const at::Tensor& x, const at::Tensor& up);

/// x ← a(x) · up, in x's memory and in one pass: what a gated feed-forward part does between its
/// products. FP32 inside, within 1e-6 relative of it. x · σ(x) for Silu, x · σ(2u) with
/// u = √(2/π) · (x + 0.044715 x³) for GeluTanh. Source: arXiv:2002.05202.
void gate(Gate kind, at::Tensor& x, const at::Tensor& up, CpuLevel level = cpu_level());

/// The same of plain memory, on the calling thread.
void gate(Gate kind, float* x, const float* up, int64_t count, CpuLevel level = cpu_level());

}  // namespace prunus::kernel
