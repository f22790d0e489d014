#pragma once
#include <ATen/core/Tensor.h>

#include "prunus/model/decoder.h"
#include "prunus/model/model.h"

namespace prunus {

/// What stands between the last layer and the logits besides the output projection: the final norm,
/// where there is one, the length of the projection's rows, and a cap on the logits.
class FinalNorm {
 public:
  /// Reads the norm in the model's precision. Keeps a reference to `model`.
  FinalNorm(const Model& model, at::Device device);
  /// The same with another gain and bias [hidden_size] as the file has them; undefined where there
  /// is no norm or it has no bias.
  FinalNorm(const Model& model, at::Device device, at::Tensor weight, at::Tensor bias = {});

  /// Input of the output projection for hidden states [..., hidden_size].
  at::Tensor operator()(const at::Tensor& hidden) const { return scaled(normalised(hidden)); }
  at::Tensor normalised(const at::Tensor& hidden) const;
  /// normalised · gain + bias.
  at::Tensor scaled(const at::Tensor& normalised, LinearHook* hook = nullptr) const;
  /// What normalised channels are multiplied by, [hidden_size].
  const at::Tensor& gain() const { return gain_; }
  /// The bias [hidden_size], or undefined.
  const at::Tensor& bias() const { return bias_; }
  int64_t bytes() const;

  /// Rows of the output projection as they are used.
  at::Tensor head_rows(const at::Tensor& rows) const;
  /// dL/d rows of dL/d head_rows(rows), both [n, hidden_size].
  at::Tensor head_rows_backward(const at::Tensor& rows, const at::Tensor& grad) const;
  /// Overwrites raw logits with the capped ones.
  void cap(at::Tensor& logits) const;
  /// Overwrites dL/d capped logits with dL/d raw logits.
  void cap_backward(at::Tensor grad, const at::Tensor& capped) const;
  bool caps() const { return model_.config().logit_softcap != 0; }

 private:
  const Model& model_;
  Decoder decoder_;
  at::Tensor gain_;
  at::Tensor bias_;
};

}  // namespace prunus
