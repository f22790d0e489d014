#pragma once
#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace prunus {

/// Share of exact zeros from which a matrix counts as sparse: trained dense weights have none.
inline constexpr double kSparseShare = 0.05;

/// Which elements of a sparse weight are to stay zero: a bool tensor of the weight's shape, true =
/// kept free; nothing where the weight is a vector or has fewer than kSparseShare zeros. Keeping
/// the zeros of an N:M sparse weight keeps its N:M pattern. weight: any floating dtype.
std::optional<at::Tensor> keep_mask(const at::Tensor& weight);

}  // namespace prunus
