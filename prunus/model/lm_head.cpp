#include "prunus/model/lm_head.h"

#include <algorithm>
#include <limits>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/decoder.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

constexpr int64_t kLogitBytes = int64_t{64} << 20;
constexpr int64_t kWeightBytes = int64_t{64} << 20;
// Logits at once where nothing is kept of them: what stays in a core's cache, more or less.
constexpr int64_t kPieceTokens = 1024;
constexpr int64_t kPieceRows = 1024;

struct Softmax {
  at::Tensor exponentials;  // the logits' own memory
  at::Tensor sums;          // [tokens, 1]
  at::Tensor log_sum_exp;   // [tokens]
  at::Tensor nll;           // [tokens]
};

// Overwrites `logits` with exp(logit − max).
Softmax softmax_parts(at::Tensor logits, const at::Tensor& targets) {
  const at::Tensor largest = logits.amax(1, true);
  logits.sub_(largest);
  const at::Tensor picked = logits.gather(1, targets.unsqueeze(1)).squeeze(1);
  logits.exp_();
  const at::Tensor sums = logits.sum(1, true);
  const at::Tensor log_sums = sums.squeeze(1).log();
  return {logits, sums, log_sums + largest.squeeze(1), log_sums - picked};
}

}  // namespace

LmHead::LmHead(const Model& model, at::Device device)
    : model_(model), weight_(model.tensor(Role::LmHead)), device_(device), norm_(model, device) {}

template <typename Use>
void LmHead::for_each_vocab_chunk(int64_t max_rows, Use use) const {
  const int64_t vocab = weight_.shape[0];
  const int64_t rows = std::clamp<int64_t>(kWeightBytes / 4 / weight_.shape[1], 1, max_rows);
  for (int64_t begin = 0; begin < vocab; begin += rows) {
    const int64_t count = std::min(rows, vocab - begin);
    const at::Tensor weight =
        model_.source().read_rows(weight_, begin, count).to(device_).to(model_.precision());
    if (!checked_) check_finite(weight, weight_.name);
    use(norm_.head_rows(weight), begin, count);
  }
  checked_ = true;
  model_.source().release(weight_);
}

template <typename Use>
void LmHead::for_each_token_chunk(const at::Tensor& hidden, Use use) const {
  const int64_t tokens = hidden.size(0);
  const int64_t step = std::max<int64_t>(1, kLogitBytes / 4 / weight_.shape[0]);
  for (int64_t begin = 0; begin < tokens; begin += step) {
    use(begin, std::min(step, tokens - begin));
  }
}

at::Tensor LmHead::chunk_logits(const at::Tensor& normed) const {
  const at::Tensor input = normed.to(model_.precision());
  at::Tensor logits =
      at::empty({normed.size(0), weight_.shape[0]},
                normed.options().dtype(at::promote_types(model_.precision(), at::kFloat)));
  for_each_vocab_chunk(weight_.shape[0],
                       [&](const at::Tensor& weight, int64_t begin, int64_t count) {
                         at::Tensor part = logits.narrow(1, begin, count);
                         product_out(part, input, weight.t());
                       });
  norm_.cap(logits);
  return logits;
}

at::Tensor LmHead::logits(const at::Tensor& hidden) const { return chunk_logits(norm_(hidden)); }

LmHead::Scored LmHead::score(const at::Tensor& hidden, const at::Tensor& places,
                             const at::Tensor& targets) const {
  const int64_t tokens = hidden.size(0);
  const at::Tensor normed = norm_(hidden).to(model_.precision());
  const auto wide = hidden.options().dtype(at::promote_types(model_.precision(), at::kFloat));
  at::Tensor largest = at::full({tokens}, -std::numeric_limits<double>::infinity(), wide);
  at::Tensor sums = at::zeros({tokens}, wide);
  at::Tensor likeliest = at::zeros({tokens}, wide.dtype(at::kLong));
  at::Tensor picked = at::zeros({targets.size(0)}, wide);
  const at::Tensor memory = at::empty({kPieceTokens * kPieceRows}, wide);
  const at::Tensor raw = wide.dtype() == normed.dtype()
                             ? memory
                             : at::empty({kPieceTokens * kPieceRows}, normed.options());
  const auto add_piece = [&](const at::Tensor& weight, int64_t id, int64_t first, int64_t count) {
    const int64_t rows = weight.size(0);
    const auto shaped = [&](const at::Tensor& all) {
      return all.narrow(0, 0, count * rows).view({count, rows});
    };
    at::Tensor logits = shaped(raw);
    product_out(logits, normed.narrow(0, first, count), weight.t());
    if (!raw.is_same(memory)) logits = shaped(memory).copy_(logits);
    norm_.cap(logits);
    const at::Tensor here =
        ((targets >= id) & (targets < id + rows) & (places >= first) & (places < first + count))
            .nonzero()
            .flatten();
    const at::Tensor at =
        (places.index_select(0, here) - first) * rows + (targets.index_select(0, here) - id);
    picked.index_copy_(0, here, logits.flatten().index_select(0, at));
    at::Tensor most = largest.narrow(0, first, count);
    at::Tensor sum = sums.narrow(0, first, count);
    at::Tensor best = likeliest.narrow(0, first, count);
    const auto [top, which] = logits.max(1);
    best.copy_(at::where(top > most, which + id, best));
    const at::Tensor together = at::maximum(top, most);
    sum.mul_((most - together).exp_()).add_(logits.sub_(together.unsqueeze(1)).exp_().sum(1));
    most.copy_(together);
  };
  for_each_vocab_chunk(weight_.shape[0], [&](const at::Tensor& weight, int64_t begin, int64_t all) {
    for (int64_t row = 0; row < all; row += kPieceRows) {
      const at::Tensor some = weight.narrow(0, row, std::min(kPieceRows, all - row));
      for (int64_t first = 0; first < tokens; first += kPieceTokens) {
        add_piece(some, begin + row, first, std::min(kPieceTokens, tokens - first));
      }
    }
  });
  // In this order nothing is lost where a target is nearly certain.
  const at::Tensor log_p =
      picked.sub_(largest.index_select(0, places)).sub_(sums.log().index_select(0, places));
  return {log_p, likeliest.index_select(0, places).eq(targets)};
}

at::Tensor LmHead::token_nll(const at::Tensor& hidden, const at::Tensor& targets) const {
  const at::Tensor places = at::arange(hidden.size(0), targets.options());
  return score(hidden, places, targets).log_p.neg_();
}

LmHead::Loss LmHead::loss_and_gradient(const at::Tensor& hidden, const at::Tensor& targets,
                                       double scale) const {
  Loss loss;
  for (at::Tensor* part : {&loss.grad_hidden, &loss.normalised, &loss.grad_normed}) {
    *part = at::zeros_like(hidden, at::MemoryFormat::Contiguous);
  }
  loss.log_sum_exp = at::empty({hidden.size(0)}, hidden.options());
  for_each_token_chunk(hidden, [&](int64_t begin, int64_t count) {
    at::Tensor input = hidden.narrow(0, begin, count).detach().requires_grad_(true);
    at::Tensor normalised;
    {
      const at::AutoGradMode on(true);
      normalised = norm_.normalised(input);
      if (!model_.config().final_norm) normalised = normalised.clone();
    }
    loss.normalised.narrow(0, begin, count).copy_(normalised.detach());
    const at::Tensor target = targets.narrow(0, begin, count);
    const at::Tensor logits = chunk_logits(norm_.scaled(normalised.detach()));
    const at::Tensor capped = norm_.caps() ? logits.clone() : at::Tensor();
    const Softmax parts = softmax_parts(logits, target);
    loss.nll_sum += parts.nll.sum(at::kDouble).item<double>();
    loss.log_sum_exp.narrow(0, begin, count).copy_(parts.log_sum_exp);
    // d nll / d logits = softmax − onehot(target)
    at::Tensor grad = parts.exponentials.div_(parts.sums);
    grad.scatter_add_(1, target.unsqueeze(1), at::full({count, 1}, -1.0, grad.options()));
    grad.mul_(scale);
    norm_.cap_backward(grad, capped);
    at::Tensor grad_normed = loss.grad_normed.narrow(0, begin, count);
    for_each_vocab_chunk(weight_.shape[0],
                         [&](const at::Tensor& weight, int64_t from, int64_t rows) {
                           add_product(grad_normed, grad.narrow(1, from, rows), weight);
                         });
    normalised.backward(grad_normed * norm_.gain());
    loss.grad_hidden.narrow(0, begin, count).copy_(input.grad());
  });
  return loss;
}

void LmHead::for_each_weight_rows(const std::vector<Loss>& losses,
                                  const std::vector<at::Tensor>& targets, double scale,
                                  const UseRows& use) const {
  int64_t tokens = 1;
  for (const at::Tensor& target : targets) tokens = std::max(tokens, target.size(0));
  const int64_t rows = std::max<int64_t>(1, kLogitBytes / 4 / tokens);
  for_each_vocab_chunk(rows, [&](const at::Tensor& weight, int64_t begin, int64_t count) {
    for (size_t i = 0; i < losses.size(); ++i) {
      const at::Tensor normalised = losses[i].normalised.to(weight.device());
      at::Tensor grad = product(norm_.scaled(normalised), weight.t());
      norm_.cap(grad);
      const at::Tensor capped = norm_.caps() ? grad.clone() : at::Tensor();
      grad.sub_(losses[i].log_sum_exp.unsqueeze(1)).exp_();
      const at::Tensor& target = targets[i];
      const at::Tensor here = ((target >= begin) & (target < begin + count)).nonzero().flatten();
      grad.index_put_({here, target.index_select(0, here) - begin},
                      at::full({here.size(0)}, -1.0, grad.options()), /*accumulate=*/true);
      grad.mul_(scale);
      norm_.cap_backward(grad, capped);
      use(begin, weight, i, grad);
    }
  });
}

}  // namespace prunus
