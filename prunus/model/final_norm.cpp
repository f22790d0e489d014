#include "prunus/model/final_norm.h"

#include <ATen/ATen.h>

namespace prunus {

FinalNorm::FinalNorm(const Model& model, at::Device device)
    : FinalNorm(model, device,
                model.config().final_norm ? model.load(model.tensor(Role::FinalNorm), device)
                                          : at::Tensor()) {}

FinalNorm::FinalNorm(const Model& model, at::Device device, at::Tensor weight)
    : model_(model), decoder_(model.config()) {
  const bool present = weight.defined();
  gain_ = present
              ? decoder_.gain(weight)
              : at::ones({model.config().hidden_size}, at::device(device).dtype(model.precision()));
  const bool biased = present && model.config().family->norm == NormKind::Layer;
  if (biased) bias_ = model.load(model.tensor(Role::FinalNormBias), device);
}

at::Tensor FinalNorm::normalised(const at::Tensor& hidden) const {
  return model_.config().final_norm ? decoder_.normalise(hidden) : hidden;
}

at::Tensor FinalNorm::scaled(const at::Tensor& normalised, LinearTap* tap) const {
  if (!model_.config().final_norm) return normalised;
  if (tap != nullptr) return tap->scale(Role::FinalNorm, normalised, gain_, bias_);
  const at::Tensor scaled = normalised * gain_;
  return bias_.defined() ? scaled + bias_ : scaled;
}

int64_t FinalNorm::bytes() const {
  return static_cast<int64_t>(gain_.nbytes() + (bias_.defined() ? bias_.nbytes() : 0));
}

at::Tensor FinalNorm::head_rows(const at::Tensor& rows) const {
  if (!model_.config().family->normalised_head) return rows;
  return rows / rows.norm(2, {1}, true).clamp_min(1e-7);
}

void FinalNorm::cap(at::Tensor& logits) const {
  const double limit = model_.config().logit_softcap;
  if (limit != 0) logits.div_(limit).tanh_().mul_(limit);
}

void FinalNorm::cap_backward(at::Tensor grad, const at::Tensor& capped) const {
  const double limit = model_.config().logit_softcap;
  if (limit != 0) grad.mul_(1 - (capped / limit).square());
}

}  // namespace prunus
