#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "prunus/adapter/lora.h"

namespace prunus {

/// A matrix [out, in] that training reads and never changes, in the form it is stored in: as in the
/// file (shared with the mapping), or as INT8 with one FP32 scale per kInt8Block weights of a row.
class FrozenWeight {
 public:
  static constexpr int64_t kInt8Block = 64;

  FrozenWeight() = default;
  /// weight: any floating dtype; shared, not copied.
  static FrozenWeight stored(at::Tensor weight);
  /// Rounds each block of a row to q·scale, scale = max|w| / 127, q in −127 … 127. Rows whose
  /// length is no multiple of the block end in a shorter one. Relative error of a block's largest
  /// weight: at most 1/254. Source: block-wise absolute-maximum quantisation, Dettmers et al.,
  /// arXiv:2110.02861 section 2.1, with linear levels.
  /// With `sparse`, elements of `weight` that are not zero but round to it are stored as
  /// kRoundedToZero, which stands for 0, too: so data() != 0 says where the weight itself is not
  /// zero, without a mask beside it.
  static FrozenWeight int8(const at::Tensor& weight, bool sparse = false);
  static constexpr int8_t kRoundedToZero = -128;

  bool defined() const { return data_.defined(); }
  int64_t rows() const { return data_.size(0); }
  int64_t columns() const { return data_.size(1); }
  /// Bytes that stay in memory (for a mapped weight: once it has been read).
  int64_t bytes() const;
  /// The matrix in `dtype`: itself where it has it already; else in memory that the next call on
  /// this thread may overwrite (on the CPU), so use it at once.
  at::Tensor dense(at::ScalarType dtype) const;
  const at::Tensor& data() const { return data_; }
  /// FP32 [out, blocks]; undefined where the weight is not quantised.
  const at::Tensor& scales() const { return scales_; }
  /// Whether data() may hold kRoundedToZero.
  bool sparse() const { return sparse_; }

 private:
  at::Tensor data_;
  at::Tensor scales_;
  bool sparse_ = false;
};

/// y = x·Wᵀ + bias + s·dropout(x)·Aᵀ·Bᵀ, with gradients to x, A and B only. Neither a copy of W in
/// another dtype nor anything of y's size is kept for the backward pass; x and dropout's mask are.
struct AdaptedLinearOptions {
  at::ScalarType compute = at::kFloat;  ///< dtype of the matrix products and of y
  double dropout = 0;                   ///< share of x's elements zeroed on the way to A
  uint64_t dropout_seed = 0;            ///< the same seed gives the same mask
  /// The update is s·(B·A) only where W, as it is in the file, is not zero: a sparse model stays
  /// sparse, and merging gives what was trained. An INT8 weight must have been made with `sparse`.
  /// Costs the update in full, out·in elements, once per pass.
  bool masked = false;
};
/// input [..., in] → [..., out]. bias [out] or undefined; `pair` null: no adapter.
at::Tensor adapted_linear(const at::Tensor& input, const FrozenWeight& weight,
                          const at::Tensor& bias, const LoraPair* pair,
                          const AdaptedLinearOptions& options);

}  // namespace prunus
