#include "prunus/model/linear_hook.h"

#include <ATen/ATen.h>

namespace prunus {

at::Tensor ExpertPart::part_of(const at::Tensor& whole, int64_t axis) const {
  const int64_t size = whole.size(axis) / experts;
  return whole.narrow(axis, expert * size, size);
}

at::Tensor LinearHook::expert_linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                                     const ExpertPart&) {
  return linear(role, input, weight, {});
}

at::Tensor LinearHook::scale(Role, const at::Tensor& normalised, const at::Tensor& gain,
                             const at::Tensor& bias) {
  return bias.defined() ? normalised * gain + bias : normalised * gain;
}

}  // namespace prunus
