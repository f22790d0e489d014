#pragma once
#include <ATen/core/Tensor.h>

namespace prunus {

/// G + diag(added) = L·Lᵀ, for equations over the second moments G of some inputs.
struct RidgedFactor {
  at::Tensor factor;  ///< L, FP64 [n, n]; undefined where nothing ever came in (G = 0)
  at::Tensor added;   ///< FP64 [n]
};

/// `gram` FP64 [n, n], symmetric. Added is ridge·diag(G) and 1e-7 of the diagonal's mean, so that a
/// ridge means the same for small and massive channels; of the last input only the latter where
/// `free_last`: the constant of an intercept needs no holding. Where that is not positive definite,
/// the ridge grows tenfold, eight times at most. Throws Numeric naming `what` where G is not finite
/// or has no factor.
RidgedFactor ridged_factor(const at::Tensor& gram, double ridge, bool free_last, const char* what);

}  // namespace prunus
