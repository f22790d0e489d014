#include "prunus/model/activation.h"

#include <ATen/ATen.h>

namespace prunus {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::Silu:
      return at::silu(x);
    case Activation::Gelu:
      return at::gelu(x);
    case Activation::GeluTanh:
      return at::gelu(x, "tanh");
    case Activation::Relu:
      return at::relu(x);
  }
  return x;
}

std::optional<kernel::Gate> gate_of(Activation activation) {
  if (activation == Activation::Silu) return kernel::Gate::Silu;
  if (activation == Activation::GeluTanh) return kernel::Gate::GeluTanh;
  return std::nullopt;
}

}  // namespace prunus
