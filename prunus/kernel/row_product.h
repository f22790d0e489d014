#pragma once
#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "prunus/base/cpu.h"
#include "prunus/kernel/stored.h"

namespace prunus::kernel {

/// Up to so many rows weights are read no faster than they are multiplied.
inline constexpr int64_t kMostRows = 8;

/// One of several products of one x.
struct RowProduct {
  StoredMatrix weight;
  const at::Tensor* bias = nullptr;  ///< [outputs] FP32, BF16 or F16, or null, or undefined
  float* y = nullptr;                ///< [rows, outputs]
};

/// y = x·Wᵀ + b for each of `products`, of few rows, at the speed at which memory gives the
/// weights, which are widened in registers. x [rows, columns], rows ≤ kMostRows. Products and sums
/// are FP32, with matrices without zeros as exact as that (kernel/bitmask_product.h). On libtorch's
/// threads, once for all products, each of which gets as many bytes of weights; the result does not
/// depend on their number, nor on which rows or products come together.
void row_products(const float* x, int64_t rows, std::span<const RowProduct> products,
                  CpuLevel level = cpu_level());

/// Rows [begin, end) of a matrix as FP32 [end − begin, columns], contiguous: what row_products()
/// multiply.
void unpack_rows(const StoredMatrix& matrix, int64_t begin, int64_t end, float* out,
                 CpuLevel level = cpu_level());

/// Whether row_product() takes this weight: BF16 or F16 on a CPU, rows contiguous.
bool takes_row_product(const at::Tensor& weight);

/// A matrix of FP32, BF16 or F16 on a CPU whose rows are contiguous, as it lies.
StoredMatrix stored_matrix(const at::Tensor& weight);

/// row_products() of one weight. x [rows, in], FP32, BF16 or F16; weight [out, in] as
/// takes_row_product(); bias [out] or undefined; y [rows, out] contiguous, of any of the three
/// types. Carries no gradients.
void row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 at::Tensor& y, CpuLevel level = cpu_level());

}  // namespace prunus::kernel
