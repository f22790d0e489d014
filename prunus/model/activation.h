#pragma once
#include <optional>

#include <ATen/core/Tensor.h>

#include "prunus/kernel/gate.h"
#include "prunus/model/family.h"

namespace prunus {

/// The non-linearity of a feed-forward part, element by element.
at::Tensor activate(Activation activation, const at::Tensor& x);

/// The activation of a gated part as a kernel has it, where one does.
std::optional<kernel::Gate> gate_of(Activation activation);

}  // namespace prunus
