#pragma once
#include <array>
#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

namespace prunus {

/// A tensor that training changes.
struct Parameter {
  std::string name;            ///< unique: the tensor's name in the file it comes from
  at::Tensor value;            ///< FP32 leaf that requires a gradient
  bool decay = true;           ///< false: norms and biases, which weight decay leaves alone
  bool hidden_matrix = false;  ///< a matrix inside a decoder layer: what Muon is made for
  /// How many matrices of equal size it is, below and beside each other: of a mixture's experts.
  std::array<int64_t, 2> matrices = {1, 1};
};

}  // namespace prunus
