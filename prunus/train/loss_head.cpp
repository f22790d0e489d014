#include "prunus/train/loss_head.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/matmul.h"

namespace prunus {
namespace {

constexpr int64_t kWeightBytes = int64_t{64} << 20;

}  // namespace

ScoredPlaces scored_places(const TrainBatch& batch, at::Device device) {
  const int64_t seq = batch.ids.size(1);
  const at::Tensor at_row_column = batch.scored.narrow(1, 1, seq - 1).nonzero();
  const at::Tensor places = at_row_column.select(1, 0) * seq + at_row_column.select(1, 1);
  return {places.to(device), batch.ids.flatten().index_select(0, places + 1).to(device)};
}

LossHead::LossHead(const Model& model, at::Device device, at::ScalarType compute, Weights weights)
    : model_(model),
      info_(model.tensor(Role::LmHead)),
      device_(device),
      compute_(compute),
      weights_(std::move(weights)),
      normalised_(model.config().family->normalised_head) {
  if (weights_.matrix.defined()) return;
  const at::Tensor stored = model.source().read(info_);
  check_finite(stored, info_.name);
  // On the CPU a mapped head is used where it lies; elsewhere it is copied over once.
  if (!device.is_cpu()) {
    const at::Tensor there = stored.to(device);
    resident_ = (normalised_ ? norm().head_rows(there.to(at::kFloat)) : there).to(compute);
  } else if (stored.scalar_type() == compute && !normalised_) {
    resident_ = stored;
  }
}

// Without a graph of its weights where no graph is made.
FinalNorm LossHead::norm() const {
  const auto weight = [](const at::Tensor& tensor) {
    return tensor.defined() && !at::GradMode::is_enabled() ? tensor.detach() : tensor;
  };
  return FinalNorm(model_, device_, weight(weights_.norm), weight(weights_.norm_bias));
}

// use(rows as they are used, number of the first, how many)
template <typename Use>
void LossHead::for_each_piece(Use use) const {
  const int64_t vocab = info_.shape[0];
  const at::Tensor& matrix = weights_.matrix;
  if (matrix.defined() && !normalised_) return use(matrix.detach().to(compute_), 0, vocab);
  if (resident_.defined()) return use(resident_, 0, vocab);
  const int64_t rows = std::clamp<int64_t>(kWeightBytes / 4 / info_.shape[1], 1, vocab);
  for (int64_t begin = 0; begin < vocab; begin += rows) {
    const int64_t count = std::min(rows, vocab - begin);
    at::Tensor piece = matrix.defined() ? matrix.detach().narrow(0, begin, count)
                                        : model_.source().read_rows(info_, begin, count);
    if (normalised_) piece = norm().head_rows(piece.to(at::kFloat));
    use(piece.to(compute_), begin, count);
  }
}

at::Tensor LossHead::logits_of(const at::Tensor& normed) const {
  at::Tensor logits = at::empty({normed.size(0), info_.shape[0]}, normed.options());
  for_each_piece([&](const at::Tensor& weight, int64_t begin, int64_t count) {
    at::Tensor part = logits.narrow(1, begin, count);
    product_out(part, normed, weight.t());
  });
  return logits.to(at::kFloat);
}

void LossHead::add_matrix_gradient(const at::Tensor& grad_logits, const at::Tensor& normed) const {
  const at::Tensor matrix = weights_.matrix;
  at::Tensor& grad = matrix.mutable_grad();
  if (!grad.defined()) grad = at::zeros_like(matrix);
  if (normalised_) {
    for_each_piece([&](const at::Tensor&, int64_t begin, int64_t count) {
      const at::Tensor used = product(grad_logits.narrow(1, begin, count).t(), normed);
      const at::Tensor rows = matrix.detach().narrow(0, begin, count);
      grad.narrow(0, begin, count).add_(norm().head_rows_backward(rows, used.to(at::kFloat)));
    });
  } else {
    add_product(grad, grad_logits.t(), normed);
  }
}

// Some scored places: `input` [tokens, hidden_size], whose gradient is left in it.
LossSums LossHead::run_piece(const at::Tensor& input, const at::Tensor& targets,
                             const LossWeights& weights, const at::Tensor& teacher,
                             double scale) const {
  const bool backward = scale != 0;
  at::Tensor normed;
  {
    const at::AutoGradMode mode(backward);
    normed = norm()(input);
  }
  const at::NoGradGuard no_grad;
  const at::Tensor product_input = normed.detach().to(compute_);
  at::Tensor logits = logits_of(product_input);
  const FinalNorm end = norm();
  end.cap(logits);
  const at::Tensor capped = end.caps() ? logits.clone() : at::Tensor();
  const LossSums sums = logits_loss(logits, targets, teacher, weights, backward);
  if (!backward) return sums;
  end.cap_backward(logits.mul_(scale), capped);
  const at::Tensor grad_logits = logits.to(compute_);
  at::Tensor grad_normed = at::zeros(normed.sizes(), product_input.options());
  for_each_piece([&](const at::Tensor& weight, int64_t from, int64_t rows) {
    add_product(grad_normed, grad_logits.narrow(1, from, rows), weight);
  });
  if (weights_.matrix.defined() && weights_.matrix.requires_grad()) {
    add_matrix_gradient(grad_logits, product_input);
  }
  normed.backward(grad_normed.to(at::kFloat));
  return sums;
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
    const at::Tensor input = flat.index_select(0, places).requires_grad_(backward);
    sums += run_piece(input, scored.targets.narrow(0, begin, count), weights,
                      teacher ? teacher(begin, count) : at::Tensor(), scale);
    if (backward) grad_hidden->index_copy_(0, places, input.grad());
  }
  if (backward) *grad_hidden = grad_hidden->view(hidden.sizes());
  return sums;
}

}  // namespace prunus
