#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "prunus/model/family.h"
#include "prunus/model/linear_hook.h"

namespace prunus {

/// A weight at work: a matrix product y = x·Wᵀ + b of a decoder layer, the embedding or the head
/// seen as such a product, or the gain of a norm; and which batch is passing through it. Each
/// expert of a mixture is a site of its own that sees the tokens that chose it.
struct LinearSite {
  int layer = 0;  ///< −1: outside the layers
  Role role = Role::QProj;
  at::Tensor weight;       ///< [out, in]; a gain [hidden_size]
  at::Tensor bias;         ///< [out], with a gain [hidden_size]; or undefined
  bool last_batch = true;  ///< no other batch follows for this weight
  bool last_rows = true;   ///< no other rows of this weight follow
  int64_t samples = 1;     ///< in all batches together; every row of a batch is one
  /// Channels of the input that belong together: of o_proj those of a head, else 1.
  int64_t group = 1;
  ExpertPart part = {};  ///< which expert of a mixture, if any; `weight` is its part of part.joined
};

/// A product on the way back: what it read and put out, and the gradient of the loss L there. With
/// experts, read [tokens, …] for [batch, seq, …].
struct BackwardProduct {
  LinearSite site;
  at::Tensor input;        ///< x [batch, seq, in]
  at::Tensor output;       ///< y [batch, seq, out]; undefined of head and embedding
  at::Tensor grad_output;  ///< dL/dy
  at::Tensor grad_input;   ///< dL/dx through this product alone
};

/// The end of a norm on the way back: output = normalised · gain + bias, all [batch, seq,
/// hidden_size].
struct BackwardGain {
  LinearSite site;
  at::Tensor normalised;
  at::Tensor grad_output;
};

/// What calibration gathers is a plug-in of the block stream. Calls come layer by layer; inside a
/// layer, batch by batch. In every batch each expert of a mixture comes once with each of its
/// weights, one that no token chose with no tokens. Forward they come in order; backward all of one
/// weight before those of the next, in any order. With experts, read [tokens, …] for [batch, seq,
/// …].
class Collector {
 public:
  virtual ~Collector() = default;
  /// Whether the backward pass should show this weight. Norms, and the embedding, head and final
  /// norm (layer −1), are shown only where this is true: the last two cost extra passes.
  virtual bool wants(int /*layer*/, Role /*role*/) const { return true; }
  /// Forward pass. input [batch, seq, in], output [batch, seq, out].
  virtual void on_forward(const LinearSite&, const at::Tensor& /*input*/,
                          const at::Tensor& /*output*/) {}
  /// Forward pass, by whole layers: a norm in front of a part, or behind it, before its gain.
  /// normalised [batch, seq, hidden_size].
  virtual void on_scale_forward(const LinearSite&, const at::Tensor& /*normalised*/) {}
  /// Forward pass: a batch has gone through a layer. Both [batch, seq, hidden_size], on the device.
  virtual void on_block(int /*layer*/, const at::Tensor& /*before*/, const at::Tensor& /*after*/,
                        bool /*last_batch*/) {}
  /// Walk by stages: a batch has gone through one of a layer's stages (LayerVisitor::Edits).
  virtual void on_stage(int /*layer*/, bool /*last_batch*/) {}
  /// Backward pass. The head and the embedding come some rows at a time, the embedding with one-hot
  /// grad_output: dL/dW = Σ_t grad_output[t]ᵀ·input[t] and grad_input = grad_output·W hold for them
  /// too. A tied head and embedding come as one weight with twice the sequence.
  virtual void on_backward(const BackwardProduct&) {}
  virtual void on_scale_backward(const BackwardGain&) {}
  /// False: on_backward gets no grad_input for head and embedding, which saves a product each.
  virtual bool wants_grad_input() const { return true; }
  /// The backward pass is done with this layer (layer_count: with the head).
  virtual void on_layer_done(int /*layer*/) {}
  /// An earlier process did the backward pass down to and including this layer (numbered as in
  /// on_layer_done): what was gathered there must be fetched from where it was recorded.
  virtual void on_resume(int /*layer*/) {}
};

}  // namespace prunus
