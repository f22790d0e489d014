#include "prunus/model/head.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/model/decoder.h"

namespace prunus {
namespace {

constexpr int64_t kLogitBytes = int64_t{128} << 20;
constexpr int64_t kWeightBytes = int64_t{64} << 20;

struct Softmax {
  at::Tensor exponentials;  // the logits' own memory
  at::Tensor sums;          // [tokens, 1]
  at::Tensor nll;           // [tokens]
};

// Overwrites `logits` with exp(logit − max).
Softmax softmax_parts(at::Tensor logits, const at::Tensor& targets) {
  logits.sub_(logits.amax(1, true));
  const at::Tensor picked = logits.gather(1, targets.unsqueeze(1)).squeeze(1);
  logits.exp_();
  const at::Tensor sums = logits.sum(1, true);
  return {logits, sums, sums.squeeze(1).log() - picked};
}

}  // namespace

Head::Head(const Model& model, at::Device device)
    : model_(model),
      weight_(model.tensor(Role::LmHead)),
      device_(device),
      norm_(model.load(model.tensor(Role::FinalNorm), device)) {}

template <typename Use>
void Head::for_each_vocab_chunk(Use use) const {
  const int64_t vocab = weight_.shape[0];
  const int64_t rows = std::max<int64_t>(1, kWeightBytes / 4 / weight_.shape[1]);
  const at::Tensor stored = model_.source().read(weight_);
  for (int64_t begin = 0; begin < vocab; begin += rows) {
    const int64_t count = std::min(rows, vocab - begin);
    const at::Tensor weight = stored.narrow(0, begin, count).to(device_).to(at::kFloat);
    if (!checked_) check_finite(weight, weight_.name);
    use(weight, begin, count);
  }
  checked_ = true;
  model_.source().release(weight_);
}

template <typename Use>
void Head::for_each_token_chunk(const at::Tensor& hidden, Use use) const {
  const int64_t tokens = hidden.size(0);
  const int64_t step = std::max<int64_t>(1, kLogitBytes / 4 / weight_.shape[0]);
  for (int64_t begin = 0; begin < tokens; begin += step) {
    use(begin, std::min(step, tokens - begin));
  }
}

at::Tensor Head::chunk_logits(const at::Tensor& normed) const {
  at::Tensor logits = at::empty({normed.size(0), weight_.shape[0]}, normed.options());
  for_each_vocab_chunk([&](const at::Tensor& weight, int64_t begin, int64_t count) {
    at::Tensor part = logits.narrow(1, begin, count);
    at::mm_out(part, normed, weight.t());
  });
  return logits;
}

at::Tensor Head::logits(const at::Tensor& hidden) const {
  return chunk_logits(Decoder(model_.config()).rms_norm(hidden, norm_));
}

at::Tensor Head::token_nll(const at::Tensor& hidden, const at::Tensor& targets) const {
  at::Tensor nll = at::empty({hidden.size(0)}, hidden.options());
  for_each_token_chunk(hidden, [&](int64_t begin, int64_t count) {
    const at::Tensor parts = logits(hidden.narrow(0, begin, count));
    nll.narrow(0, begin, count).copy_(softmax_parts(parts, targets.narrow(0, begin, count)).nll);
  });
  return nll;
}

Head::Loss Head::loss_and_gradient(const at::Tensor& hidden, const at::Tensor& targets,
                                   double scale) const {
  Loss loss;
  loss.grad_hidden = at::empty_like(hidden);
  const Decoder decoder(model_.config());
  for_each_token_chunk(hidden, [&](int64_t begin, int64_t count) {
    at::Tensor input = hidden.narrow(0, begin, count).detach().requires_grad_(true);
    at::Tensor normed;
    {
      const at::AutoGradMode on(true);
      normed = decoder.rms_norm(input, norm_);
    }
    const at::Tensor target = targets.narrow(0, begin, count);
    const Softmax parts = softmax_parts(chunk_logits(normed.detach()), target);
    loss.nll_sum += parts.nll.sum(at::kDouble).item<double>();
    // d nll / d logits = softmax − onehot(target)
    at::Tensor grad = parts.exponentials.div_(parts.sums);
    grad.scatter_add_(1, target.unsqueeze(1), at::full({count, 1}, -1.0, grad.options()));
    grad.mul_(scale);
    at::Tensor grad_normed = at::zeros_like(input, at::MemoryFormat::Contiguous);
    for_each_vocab_chunk([&](const at::Tensor& weight, int64_t from, int64_t rows) {
      grad_normed.addmm_(grad.narrow(1, from, rows), weight);
    });
    normed.backward(grad_normed);
    loss.grad_hidden.narrow(0, begin, count).copy_(input.grad());
  });
  return loss;
}

}  // namespace prunus
