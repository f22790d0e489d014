#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "prunus/model/family.h"

namespace prunus {

/// A matrix product y = x·Wᵀ + b of one decoder layer, and which batch is passing through it.
struct LinearSite {
  int layer = 0;
  Role role = Role::QProj;
  at::Tensor weight;       ///< FP32 [out, in]
  at::Tensor bias;         ///< FP32 [out] or undefined
  bool last_batch = true;  ///< nothing more of this layer follows at this site
};

/// What calibration gathers is a plug-in of the block stream. Calls come layer by layer; inside a
/// layer, batch by batch.
class Collector {
 public:
  virtual ~Collector() = default;
  /// Forward pass. input [batch, seq, in], output [batch, seq, out].
  virtual void on_forward(const LinearSite&, const at::Tensor& /*input*/,
                          const at::Tensor& /*output*/) {}
  /// Backward pass: the same with dL/d output and dL/d input through this product alone.
  virtual void on_backward(const LinearSite&, const at::Tensor& /*input*/,
                           const at::Tensor& /*output*/, const at::Tensor& /*grad_output*/,
                           const at::Tensor& /*grad_input*/) {}
};

}  // namespace prunus
