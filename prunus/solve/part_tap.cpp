#include "prunus/solve/part_tap.h"

#include <ATen/ATen.h>

#include "prunus/model/matmul.h"

namespace prunus {

PartRoles roles_of(Part part) {
  if (part == Part::Attention) return {Role::OProj, Role::OBias, Role::PostAttnNorm};
  return {Role::DownProj, Role::DownBias, Role::PostMlpNorm};
}

at::Tensor PartTap::linear(Role role, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& bias) {
  if (role != role_) return apply_linear(x, weight, bias);
  input = x;
  if (runs_) {
    output = apply_linear(x, weight, bias);
    return output;
  }
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return at::zeros(sizes, x.options());
}

}  // namespace prunus
