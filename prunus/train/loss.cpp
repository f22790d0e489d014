#include "prunus/train/loss.h"

#include <ATen/ATen.h>

namespace prunus {
namespace {

constexpr float kTiny = 1e-30f;  // keeps logarithms of empty buckets finite

double total(const at::Tensor& values) { return values.sum(at::kDouble).item<double>(); }

// Σ_j p_j (log p_j − log q_j) per token, and kl·T·(q − p) in `student`'s memory.
// student, teacher: logits / T less their largest, [tokens, vocab].
at::Tensor full_divergence(at::Tensor& student, at::Tensor& teacher, double factor) {
  const at::Tensor difference = teacher - student;
  const at::Tensor p = teacher.exp_();
  const at::Tensor p_sum = p.sum(1, true);
  const at::Tensor q = student.exp_();
  const at::Tensor q_sum = q.sum(1, true);
  const at::Tensor cross = (difference.mul_(p)).sum(1, true) / p_sum;
  const at::Tensor divergence = cross - p_sum.log() + q_sum.log();
  student.mul_(factor / q_sum).addcmul_(p, factor / p_sum, -1);
  return divergence;
}

// The same over the teacher's `count` likeliest tokens and the rest.
at::Tensor bucket_divergence(at::Tensor& student, at::Tensor& teacher, int64_t count,
                             double factor) {
  const auto [top, index] = teacher.topk(count, 1);
  const at::Tensor log_p = top - teacher.logsumexp(1, true);
  const at::Tensor p = log_p.exp();
  const at::Tensor p_rest = (1 - p.sum(1, true)).clamp_min_(kTiny);
  const at::Tensor q_sum = student.exp_().sum(1, true);
  const at::Tensor kept = student.gather(1, index);
  student.scatter_(1, index, 0.0);
  const at::Tensor rest = student.sum(1, true).clamp_min_(kTiny);
  const at::Tensor q = kept / q_sum;
  const at::Tensor divergence = (p * (log_p - q.clamp_min(kTiny).log())).sum(1, true) +
                                p_rest * (p_rest.log() - (rest / q_sum).log());
  student.mul_((q_sum.reciprocal() - p_rest / rest) * factor);
  student.scatter_(1, index, (q - p) * factor);
  return divergence;
}

// Logits / T less the largest, in the same memory.
void centre(at::Tensor& logits, double temperature) {
  logits.sub_(logits.amax(1, true));
  if (temperature != 1.0) logits.div_(temperature);
}

}  // namespace

LossSums& LossSums::operator+=(const LossSums& other) {
  objective += other.objective;
  ce += other.ce;
  kl += other.kl;
  seam += other.seam;
  targets += other.targets;
  return *this;
}

LossSums logits_loss(at::Tensor& logits, const at::Tensor& targets, at::Tensor teacher,
                     const LossWeights& weights, bool want_gradient) {
  LossSums sums;
  sums.targets = logits.size(0);
  const double temperature = weights.temperature;
  at::Tensor gradient;
  if (teacher.defined()) {
    at::Tensor student = logits.clone();
    centre(student, temperature);
    centre(teacher, temperature);
    const double factor = weights.kl * temperature;
    const bool whole = weights.top_k <= 0 || weights.top_k >= logits.size(1);
    sums.kl = total(whole ? full_divergence(student, teacher, factor)
                          : bucket_divergence(student, teacher, weights.top_k, factor));
    gradient = student;
  }
  centre(logits, 1.0);
  const at::Tensor column = targets.unsqueeze(1);
  const at::Tensor picked = logits.gather(1, column);
  const at::Tensor q_sum = logits.exp_().sum(1, true);
  sums.ce = total(q_sum.log() - picked);
  sums.objective = weights.ce * sums.ce + weights.kl * temperature * temperature * sums.kl;
  if (!want_gradient) return sums;
  logits.mul_(weights.ce / q_sum);
  logits.scatter_add_(1, column, at::full_like(picked, -weights.ce));
  if (gradient.defined()) logits.add_(gradient);
  return sums;
}

}  // namespace prunus
