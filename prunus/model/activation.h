#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/model/family.h"

namespace prunus {

/// The non-linearity of a feed-forward part, element by element.
at::Tensor activate(Activation activation, const at::Tensor& x);

}  // namespace prunus
