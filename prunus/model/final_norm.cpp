#include "prunus/model/final_norm.h"

#include <ATen/ATen.h>

namespace prunus {

namespace {

// Rows shorter than this are not stretched any further.
constexpr double kShortest = 1e-7;

at::Tensor loaded(const Model& model, Role role, at::Device device) {
  const ModelConfig& config = model.config();
  const bool bias = role == Role::FinalNormBias;
  const bool present = config.final_norm && (!bias || config.family->norm == NormKind::Layer);
  return present ? model.load(model.tensor(role), device) : at::Tensor();
}

}  // namespace

FinalNorm::FinalNorm(const Model& model, at::Device device)
    : FinalNorm(model, device, loaded(model, Role::FinalNorm, device),
                loaded(model, Role::FinalNormBias, device)) {}

FinalNorm::FinalNorm(const Model& model, at::Device device, at::Tensor weight, at::Tensor bias)
    : model_(model), decoder_(model.config()), bias_(std::move(bias)) {
  gain_ = weight.defined()
              ? decoder_.gain(weight)
              : at::ones({model.config().hidden_size}, at::device(device).dtype(model.precision()));
}

at::Tensor FinalNorm::normalised(const at::Tensor& hidden) const {
  return model_.config().final_norm ? decoder_.normalise(hidden) : hidden;
}

at::Tensor FinalNorm::scaled(const at::Tensor& normalised, LinearHook* hook) const {
  if (!model_.config().final_norm) return normalised;
  if (hook != nullptr) return hook->scale(Role::FinalNorm, normalised, gain_, bias_);
  const at::Tensor scaled = normalised * gain_;
  return bias_.defined() ? scaled + bias_ : scaled;
}

int64_t FinalNorm::bytes() const {
  return static_cast<int64_t>(gain_.nbytes() + (bias_.defined() ? bias_.nbytes() : 0));
}

at::Tensor FinalNorm::head_rows(const at::Tensor& rows) const {
  if (!model_.config().family->normalised_head) return rows;
  return rows / rows.norm(2, {1}, true).clamp_min(kShortest);
}

// Of a row w as long as ‖w‖ only what stands across it counts: (g − u·⟨u, g⟩) / ‖w‖, u = w / ‖w‖.
at::Tensor FinalNorm::head_rows_backward(const at::Tensor& rows, const at::Tensor& grad) const {
  if (!model_.config().family->normalised_head) return grad;
  const at::Tensor length = rows.norm(2, {1}, true);
  const at::Tensor divisor = length.clamp_min(kShortest);
  const at::Tensor unit = rows / divisor;
  const at::Tensor along = (unit * grad).sum(1, true) * (length >= kShortest);
  return (grad - unit * along) / divisor;
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
