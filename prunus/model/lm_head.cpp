#include "prunus/model/lm_head.h"

#include <algorithm>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
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

// dH/dl = −p·(log p + H) of H = −Σ p·log p, p the softmax of the logits l [tokens, some ids].
at::Tensor entropy_slope(const at::Tensor& logits, const at::Tensor& log_sum_exp,
                         const at::Tensor& entropy) {
  const at::Tensor log_p = logits - log_sum_exp.unsqueeze(1);
  return (log_p + entropy.unsqueeze(1)).mul_(log_p.exp()).neg_();
}

// 1 less where an id [tokens, ids from `begin`] is the target.
void subtract_targets(at::Tensor& grad, const at::Tensor& target, int64_t begin) {
  const at::Tensor here = ((target >= begin) & (target < begin + grad.size(1))).nonzero().flatten();
  grad.index_put_({here, target.index_select(0, here) - begin},
                  at::full({here.size(0)}, -1.0, grad.options()), /*accumulate=*/true);
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

// use(some rows of the head, the first of them, the first token, tokens): all of the vocabulary
// with all tokens.
template <typename Use>
void LmHead::for_each_piece(int64_t tokens, Use use) const {
  for_each_vocab_chunk(weight_.shape[0], [&](const at::Tensor& weight, int64_t begin, int64_t all) {
    for (int64_t row = 0; row < all; row += kPieceRows) {
      const at::Tensor some = weight.narrow(0, row, std::min(kPieceRows, all - row));
      for (int64_t first = 0; first < tokens; first += kPieceTokens) {
        use(some, begin + row, first, std::min(kPieceTokens, tokens - first));
      }
    }
  });
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
  for_each_piece(tokens, add_piece);
  // In this order nothing is lost where a target is nearly certain.
  const at::Tensor log_p =
      picked.sub_(largest.index_select(0, places)).sub_(sums.log().index_select(0, places));
  return {log_p, likeliest.index_select(0, places).eq(targets)};
}

at::Tensor LmHead::token_nll(const at::Tensor& hidden, const at::Tensor& targets) const {
  const at::Tensor places = at::arange(hidden.size(0), targets.options());
  return score(hidden, places, targets).log_p.neg_();
}

// The sums over the vocabulary of one pass over its pieces: Σ exp(l − m) and Σ exp(l − m) · w, m
// the largest logit so far, in whose place a larger one comes by a factor.
class LmHead::LossSums {
 public:
  LossSums(const LmHead& head, const at::Tensor& normed, const at::Tensor& targets, Loss& loss)
      : head_(head),
        normed_(normed),
        targets_(targets),
        wide_(normed.options().dtype(at::promote_types(normed.scalar_type(), at::kFloat))),
        largest_(at::full({normed.size(0)}, -std::numeric_limits<double>::infinity(), wide_)),
        sums_(at::zeros({normed.size(0)}, wide_)),
        picked_(at::zeros({normed.size(0)}, wide_)),
        memory_(at::empty({kPieceTokens * kPieceRows}, wide_)),
        raw_(wide_.dtype() == normed.dtype()
                 ? memory_
                 : at::empty({kPieceTokens * kPieceRows}, normed.options())),
        mixed_(loss.grad_normed),
        target_rows_(loss.grad_hidden) {}

  void add(const at::Tensor& weight, int64_t id, int64_t first, int64_t count) {
    at::Tensor logits = piece(raw_, count, weight.size(0));
    product_out(logits, normed_.narrow(0, first, count), weight.t());
    if (!raw_.is_same(memory_)) logits = piece(memory_, count, weight.size(0)).copy_(logits);
    head_.norm_.cap(logits);
    at::Tensor slope;  // of the capped logits over the raw ones
    if (head_.norm_.caps()) {
      slope = at::ones_like(logits);
      head_.norm_.cap_backward(slope, logits);
    }
    pick(logits, slope, weight, id, first);
    at::Tensor most = largest_.narrow(0, first, count);
    const at::Tensor together = at::maximum(logits.amax(1), most);
    const at::Tensor factor = (most - together).exp_();
    logits.sub_(together.unsqueeze(1)).exp_();
    sums_.narrow(0, first, count).mul_(factor).add_(logits.sum(1));
    most.copy_(together);
    if (slope.defined()) logits.mul_(slope);
    at::Tensor mixed = mixed_.narrow(0, first, count).mul_(factor.unsqueeze(1));
    add_product(mixed, logits.to(weight.scalar_type()), weight);
  }

  // d nll / d logits = softmax − onehot(target), times the head.
  void finish(double scale, Loss& loss) {
    loss.log_sum_exp = sums_.log().add_(largest_);
    loss.nll_sum = (sums_.log() - (picked_ - largest_)).sum(at::kDouble).item<double>();
    mixed_.div_(sums_.unsqueeze(1)).sub_(target_rows_).mul_(scale);
  }

 private:
  static at::Tensor piece(const at::Tensor& all, int64_t tokens, int64_t rows) {
    return all.narrow(0, 0, tokens * rows).view({tokens, rows});
  }
  // Logits and rows of the targets that are in this piece.
  void pick(const at::Tensor& logits, const at::Tensor& slope, const at::Tensor& weight, int64_t id,
            int64_t first) {
    const at::Tensor target = targets_.narrow(0, first, logits.size(0)) - id;
    const at::Tensor here = ((target >= 0) & (target < weight.size(0))).nonzero().flatten();
    const at::Tensor rows = target.index_select(0, here);
    const at::Tensor at = here * weight.size(0) + rows;
    picked_.index_copy_(0, here + first, logits.flatten().index_select(0, at));
    at::Tensor values = weight.index_select(0, rows).to(wide_);
    if (slope.defined()) values.mul_(slope.flatten().index_select(0, at).unsqueeze(1));
    target_rows_.index_copy_(0, here + first, values);
  }

  const LmHead& head_;
  const at::Tensor& normed_;   // [tokens, hidden_size]
  const at::Tensor& targets_;  // [tokens]
  at::TensorOptions wide_;
  at::Tensor largest_;
  at::Tensor sums_;
  at::Tensor picked_;
  at::Tensor memory_;
  at::Tensor raw_;          // the same where products are in FP32 or FP64
  at::Tensor mixed_;        // [tokens, hidden_size]
  at::Tensor target_rows_;  // [tokens, hidden_size]
};

LmHead::Loss LmHead::loss_and_gradient(const at::Tensor& hidden, const at::Tensor& targets,
                                       double scale) const {
  const at::Tensor input = hidden.detach().requires_grad_(true);
  at::Tensor normalised;
  {
    const at::AutoGradMode on(true);
    normalised = norm_.normalised(input);
    if (!model_.config().final_norm) normalised = normalised.clone();
  }
  Loss loss;
  loss.normalised = normalised.detach();
  loss.grad_normed = at::zeros_like(hidden, at::MemoryFormat::Contiguous);
  loss.grad_hidden = at::zeros_like(hidden, at::MemoryFormat::Contiguous);
  const at::Tensor normed = norm_.scaled(loss.normalised).to(model_.precision());
  LossSums sums(*this, normed, targets, loss);
  for_each_piece(hidden.size(0), [&](const at::Tensor& weight, int64_t id, int64_t first,
                                     int64_t count) { sums.add(weight, id, first, count); });
  sums.finish(scale, loss);
  normalised.backward(loss.grad_normed * norm_.gain());
  loss.grad_hidden.copy_(input.grad());
  return loss;
}

// use(logits [some tokens, some ids], weight, first id, first token); the logits are capped.
template <typename Use>
void LmHead::for_each_logits(const at::Tensor& normed, Use use) const {
  for_each_piece(normed.size(0),
                 [&](const at::Tensor& weight, int64_t id, int64_t first, int64_t count) {
                   at::Tensor logits = product(normed.narrow(0, first, count), weight.t());
                   logits = logits.to(at::promote_types(logits.scalar_type(), at::kFloat));
                   norm_.cap(logits);
                   use(logits, weight, id, first);
                 });
}

LmHead::Loss LmHead::entropy_and_gradient(const at::Tensor& hidden, double scale) const {
  const at::Tensor input = hidden.detach().requires_grad_(true);
  at::Tensor normalised;
  {
    const at::AutoGradMode on(true);
    normalised = norm_.normalised(input);
    if (!model_.config().final_norm) normalised = normalised.clone();
  }
  Loss loss;
  loss.normalised = normalised.detach();
  const at::Tensor normed = norm_.scaled(loss.normalised).to(model_.precision());
  const auto wide = normed.options().dtype(at::promote_types(normed.scalar_type(), at::kFloat));
  at::Tensor largest = at::full({hidden.size(0)}, -std::numeric_limits<double>::infinity(), wide);
  at::Tensor sums = at::zeros({hidden.size(0)}, wide);   // Σ e^(l − m)
  at::Tensor means = at::zeros({hidden.size(0)}, wide);  // Σ e^(l − m) · (l − m)
  for_each_logits(normed, [&](at::Tensor& logits, const at::Tensor&, int64_t, int64_t first) {
    at::Tensor most = largest.narrow(0, first, logits.size(0));
    at::Tensor sum = sums.narrow(0, first, logits.size(0));
    at::Tensor mean = means.narrow(0, first, logits.size(0));
    const at::Tensor together = at::maximum(logits.amax(1), most);
    const at::Tensor moved = at::where(sum > 0, most - together, 0.0);
    const at::Tensor factor = at::where(sum > 0, moved.exp(), 0.0);
    mean.add_(moved * sum).mul_(factor);
    sum.mul_(factor);
    logits.sub_(together.unsqueeze(1));
    const at::Tensor weights = logits.exp();
    sum.add_(weights.sum(1));
    mean.add_((weights * logits).sum(1));
    most.copy_(together);
  });
  loss.log_sum_exp = sums.log() + largest;
  loss.entropy = sums.log() - means / sums;
  loss.nll_sum = loss.entropy.sum(at::kDouble).item<double>();
  loss.grad_normed = at::zeros_like(hidden, at::MemoryFormat::Contiguous);
  for_each_logits(
      normed, [&](at::Tensor& logits, const at::Tensor& weight, int64_t, int64_t first) {
        at::Tensor grad = entropy_slope(logits, loss.log_sum_exp.narrow(0, first, logits.size(0)),
                                        loss.entropy.narrow(0, first, logits.size(0)));
        norm_.cap_backward(grad, logits);
        at::Tensor sum = loss.grad_normed.narrow(0, first, logits.size(0));
        add_product(sum, grad.to(weight.scalar_type()), weight);
      });
  loss.grad_normed.mul_(scale);
  normalised.backward(loss.grad_normed * norm_.gain());
  loss.grad_hidden = input.grad();
  return loss;
}

at::Tensor LmHead::draw(const at::Tensor& hidden, uint64_t seed) const {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor normed = norm_(hidden).to(model_.precision());
  const auto wide = normed.options().dtype(at::promote_types(normed.scalar_type(), at::kFloat));
  at::Tensor best = at::full({hidden.size(0)}, -std::numeric_limits<double>::infinity(), wide);
  at::Tensor ids = at::zeros({hidden.size(0)}, wide.dtype(at::kLong));
  // The largest of logits with Gumbel noise is a draw from their softmax.
  for_each_logits(normed, [&](at::Tensor& logits, const at::Tensor&, int64_t id, int64_t first) {
    const at::Tensor noise =
        at::empty(logits.sizes(), at::kDouble).exponential_(1, generator).log_().neg_();
    logits.add_(noise.to(logits.device()));
    const auto [top, which] = logits.max(1);
    at::Tensor most = best.narrow(0, first, logits.size(0));
    at::Tensor drawn = ids.narrow(0, first, logits.size(0));
    drawn.copy_(at::where(top > most, which + id, drawn));
    most.copy_(at::maximum(top, most));
  });
  return ids;
}

void LmHead::for_each_weight_rows(const std::vector<Loss>& losses,
                                  const std::vector<at::Tensor>& targets, double scale,
                                  const UseRows& use) const {
  int64_t tokens = 1;
  for (const at::Tensor& target : targets) tokens = std::max(tokens, target.size(0));
  const int64_t rows = std::max<int64_t>(1, kLogitBytes / 4 / tokens);
  for_each_vocab_chunk(rows, [&](const at::Tensor& weight, int64_t begin, int64_t) {
    for (size_t i = 0; i < losses.size(); ++i) {
      const at::Tensor normalised = losses[i].normalised.to(weight.device());
      const at::Tensor scaled = norm_.scaled(normalised);
      at::Tensor grad =
          product(scaled.to(weight.scalar_type()), weight.t()).to(scaled.scalar_type());
      norm_.cap(grad);
      const at::Tensor capped = norm_.caps() ? grad.clone() : at::Tensor();
      if (losses[i].entropy.defined()) {
        grad = entropy_slope(grad, losses[i].log_sum_exp, losses[i].entropy);
      } else {
        subtract_targets(grad.sub_(losses[i].log_sum_exp.unsqueeze(1)).exp_(), targets[i], begin);
      }
      grad.mul_(scale);
      norm_.cap_backward(grad, capped);
      use(begin, weight, i, grad);
    }
  });
}

}  // namespace prunus
