#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/model/linear_hook.h"
#include "prunus/solve/sub_block_part.h"

namespace prunus {

/// The matrix a part puts out through, its bias, and the norm behind it.
struct PartRoles {
  Role weight;
  Role bias;
  Role post_norm;
};
PartRoles roles_of(Part part);

/// Looks at one product of a part.
class PartTap : public LinearHook {
 public:
  /// `runs`: the product is computed; else it gives zeros, where only what enters it is asked for.
  PartTap(Role role, bool runs) : role_(role), runs_(runs) {}

  at::Tensor linear(Role role, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& bias) override;

  at::Tensor input;   ///< [rows, seq, in]
  at::Tensor output;  ///< [rows, seq, out]; undefined where it does not run

 private:
  Role role_;
  bool runs_;
};

}  // namespace prunus
