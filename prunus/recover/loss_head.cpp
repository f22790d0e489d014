#include "prunus/recover/loss_head.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/final_norm.h"

namespace prunus {
namespace {

constexpr int64_t kLogitBytes = int64_t{32} << 20;
constexpr int64_t kWeightBytes = int64_t{64} << 20;

}  // namespace

ScoredPlaces scored_places(const TrainBatch& batch, at::Device device) {
  const int64_t seq = batch.ids.size(1);
  const at::Tensor at_row_column = batch.scored.narrow(1, 1, seq - 1).nonzero();
  const at::Tensor places = at_row_column.select(1, 0) * seq + at_row_column.select(1, 1);
  return {places.to(device), batch.ids.flatten().index_select(0, places + 1).to(device)};
}

LossHead::LossHead(const Model& model, at::Device device, at::ScalarType compute, at::Tensor norm,
                   at::Tensor matrix)
    : model_(model),
      info_(model.tensor(Role::LmHead)),
      device_(device),
      compute_(compute),
      norm_weight_(std::move(norm)),
      matrix_(std::move(matrix)) {
  if (matrix_.defined()) return;
  const at::Tensor stored = model.source().read(info_);
  check_finite(stored, info_.name);
  // On the CPU a mapped head is used where it lies; elsewhere it is copied over once.
  if (!device.is_cpu()) {
    resident_ = stored.to(device, compute);
  } else if (stored.scalar_type() == compute) {
    resident_ = stored;
  }
}

template <typename Use>
void LossHead::for_each_piece(Use use) const {
  const int64_t vocab = info_.shape[0];
  if (matrix_.defined()) return use(matrix_.detach().to(compute_), 0, vocab);
  if (resident_.defined()) return use(resident_, 0, vocab);
  const int64_t rows = std::clamp<int64_t>(kWeightBytes / 4 / info_.shape[1], 1, vocab);
  for (int64_t begin = 0; begin < vocab; begin += rows) {
    const int64_t count = std::min(rows, vocab - begin);
    use(model_.source().read_rows(info_, begin, count).to(compute_), begin, count);
  }
}

at::Tensor LossHead::logits_of(const at::Tensor& normed) const {
  at::Tensor logits = at::empty({normed.size(0), info_.shape[0]}, normed.options());
  for_each_piece([&](const at::Tensor& weight, int64_t begin, int64_t count) {
    at::Tensor part = logits.narrow(1, begin, count);
    at::mm_out(part, normed, weight.t());
  });
  return logits.to(at::kFloat);
}

void LossHead::add_matrix_gradient(const at::Tensor& grad_logits, const at::Tensor& normed) const {
  at::Tensor& grad = matrix_.mutable_grad();
  if (!grad.defined()) grad = at::zeros_like(matrix_);
  if (compute_ == at::kFloat) {
    grad.addmm_(grad_logits.t(), normed);
  } else {
    grad.add_(at::mm(grad_logits.t(), normed));
  }
}

LossSums LossHead::run(const at::Tensor& hidden, const ScoredPlaces& scored,
                       const LossWeights& weights, const TeacherLogits& teacher, double scale,
                       at::Tensor* grad_hidden) const {
  LossSums sums;
  const int64_t tokens = scored.places.size(0);
  const at::Tensor flat = hidden.detach().flatten(0, 1);
  const bool backward = scale != 0;
  if (backward) *grad_hidden = at::zeros_like(flat, at::MemoryFormat::Contiguous);
  const int64_t step = std::max<int64_t>(1, kLogitBytes / 4 / info_.shape[0]);
  for (int64_t begin = 0; begin < tokens; begin += step) {
    const int64_t count = std::min(step, tokens - begin);
    const at::Tensor places = scored.places.narrow(0, begin, count);
    at::Tensor input = flat.index_select(0, places).requires_grad_(backward);
    at::Tensor normed;
    {
      const at::AutoGradMode mode(backward);
      normed = FinalNorm(model_, device_, norm_weight_)(input);
    }
    const at::NoGradGuard no_grad;
    const at::Tensor product_input = normed.detach().to(compute_);
    at::Tensor logits = logits_of(product_input);
    const FinalNorm norm(model_, device_,
                         norm_weight_.defined() ? norm_weight_.detach() : norm_weight_);
    norm.cap(logits);
    const at::Tensor capped = norm.caps() ? logits.clone() : at::Tensor();
    sums += logits_loss(logits, scored.targets.narrow(0, begin, count),
                        teacher ? teacher(begin, count) : at::Tensor(), weights, backward);
    if (!backward) continue;
    norm.cap_backward(logits.mul_(scale), capped);
    const at::Tensor grad_logits = logits.to(compute_);
    at::Tensor grad_normed = at::zeros(normed.sizes(), product_input.options());
    for_each_piece([&](const at::Tensor& weight, int64_t from, int64_t rows) {
      grad_normed.addmm_(grad_logits.narrow(1, from, rows), weight);
    });
    if (matrix_.defined() && matrix_.requires_grad()) {
      add_matrix_gradient(grad_logits, product_input);
    }
    normed.backward(grad_normed.to(at::kFloat));
    grad_hidden->index_copy_(0, places, input.grad());
  }
  if (backward) *grad_hidden = grad_hidden->view(hidden.sizes());
  return sums;
}

}  // namespace prunus
