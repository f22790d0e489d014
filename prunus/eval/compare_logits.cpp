#include "prunus/eval/compare_logits.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr int64_t kComparedLogitBytes = int64_t{32} << 20;

struct Sums {
  double abs_diff = 0, kl = 0, agreeing = 0, nll = 0, other_nll = 0;
};

// What the first model's last layer says, batch after batch, on the CPU.
std::vector<at::Tensor> hidden_of(const ScoringModel& first, const EvalText& text) {
  std::vector<at::Tensor> kept;
  for_each_scored_batch(first, text, [&](const LmHead&, const ScoredBatch& batch) {
    kept.push_back(batch.hidden.to(at::kCPU));
  });
  return kept;
}

// Which sequence a place of a batch is of, and which of its places.
WorstPlace place_of(const ScoredBatch& batch, int64_t place) {
  size_t i = 0;
  while (place >= batch.counts[i]) place -= batch.counts[i++];
  return {.sequence = static_cast<int64_t>(batch.sequences[i]), .place = place};
}

// Adds up pieces of logits, [places, ids] of each model.
class Accumulator {
 public:
  explicit Accumulator(int64_t ids) { result_.ids = ids; }

  /// The sequences of the batches that follow are numbered from here.
  void set_first_sequence(int64_t sequence) { first_sequence_ = sequence; }

  void add(const at::Tensor& first, const at::Tensor& other, const ScoredBatch& batch,
           int64_t begin) {
    const at::Tensor diff = (first - other).abs();
    PRUNUS_CHECK(std::isfinite(diff.sum(at::kDouble).item<double>()), Numeric,
                 "a logit is not finite; a model overflows on this text in FP32");
    note_worst(first, other, diff, batch, begin);
    sums_.abs_diff += diff.sum(at::kDouble).item<double>();
    result_.max_abs_logit = std::max(result_.max_abs_logit, first.abs().max().item<double>());
    // Of equal logits either may be called the likeliest, so the values are compared.
    const at::Tensor chosen = first.gather(1, other.argmax(1, true)).squeeze(1);
    sums_.agreeing += (chosen >= first.amax(1)).sum().item<double>();
    add_distributions(first, other, batch.targets.narrow(0, begin, first.size(0)));
    result_.tokens += first.size(0);
  }

  LogitComparison result() && {
    const auto tokens = static_cast<double>(result_.tokens);
    result_.mean_abs_diff = sums_.abs_diff / tokens / static_cast<double>(result_.ids);
    result_.mean_kl = sums_.kl / tokens;
    result_.top1_agreement = sums_.agreeing / tokens;
    result_.nll = sums_.nll / tokens;
    result_.other_nll = sums_.other_nll / tokens;
    return result_;
  }

 private:
  void note_worst(const at::Tensor& first, const at::Tensor& other, const at::Tensor& diff,
                  const ScoredBatch& batch, int64_t begin) {
    const double most = diff.max().item<double>();
    if (result_.tokens > 0 && most <= result_.max_abs_diff) return;
    const int64_t at = diff.argmax().item<int64_t>();
    const int64_t place = at / result_.ids, id = at % result_.ids;
    result_.max_abs_diff = most;
    result_.worst = place_of(batch, begin + place);
    result_.worst.sequence += first_sequence_;
    result_.worst.id = id;
    result_.worst.logit = first[place][id].item<double>();
    result_.worst.other = other[place][id].item<double>();
  }

  void add_distributions(const at::Tensor& first, const at::Tensor& other,
                         const at::Tensor& targets) {
    const at::Tensor log_p = first.to(at::kDouble).log_softmax(1);
    const at::Tensor log_q = other.to(at::kDouble).log_softmax(1);
    const at::Tensor kl = (log_p.exp() * (log_p - log_q)).sum(1);
    sums_.kl += kl.sum().item<double>();
    result_.max_kl = std::max(result_.max_kl, kl.max().item<double>());
    // An id beyond the smaller vocabulary has no probability in one of the models.
    const at::Tensor known = (targets < result_.ids).nonzero().flatten();
    const at::Tensor rows = targets.index_select(0, known).unsqueeze(1);
    sums_.nll -= log_p.index_select(0, known).gather(1, rows).sum().item<double>();
    sums_.other_nll -= log_q.index_select(0, known).gather(1, rows).sum().item<double>();
  }

  LogitComparison result_;
  Sums sums_;
  int64_t first_sequence_ = 0;
};

void compare_part(const ScoringModel& first, const ScoringModel& other, const EvalText& text,
                  int64_t ids, Accumulator& sums) {
  const std::vector<at::Tensor> kept = hidden_of(first, text);
  const LmHead head(first.model, first.device);
  const int64_t widest = std::max(first.model.config().vocab_size, other.model.config().vocab_size);
  const int64_t step = std::max<int64_t>(1, kComparedLogitBytes / 4 / widest);
  size_t next = 0;
  for_each_scored_batch(other, text, [&](const LmHead& other_head, const ScoredBatch& batch) {
    const at::Tensor hidden = kept.at(next++);
    for (int64_t begin = 0; begin < batch.hidden.size(0); begin += step) {
      const int64_t count = std::min(step, batch.hidden.size(0) - begin);
      const auto logits = [&](const LmHead& of, const at::Tensor& states) {
        const at::Tensor piece = states.narrow(0, begin, count).to(first.device);
        return of.logits(piece).to(at::kFloat).narrow(1, 0, ids);
      };
      sums.add(logits(head, hidden), logits(other_head, batch.hidden), batch, begin);
    }
  });
}

// Parts of the text whose hidden states fit; a sequence is never cut.
std::vector<EvalText> parts_of(const EvalText& text, int64_t most_tokens) {
  std::vector<EvalText> parts;
  int64_t tokens = most_tokens;
  for (size_t i = 0; i < text.sequences.size(); ++i) {
    const auto length = static_cast<int64_t>(text.sequences[i].size());
    if (tokens + length > most_tokens) {
      parts.emplace_back();
      tokens = 0;
    }
    tokens += length;
    parts.back().sequences.push_back(text.sequences[i]);
    if (!text.scored.empty()) parts.back().scored.push_back(text.scored[i]);
  }
  return parts;
}

}  // namespace

LogitComparison compare_logits(const ScoringModel& first, const ScoringModel& other,
                               const EvalText& text) {
  const at::NoGradGuard no_grad;
  PRUNUS_CHECK(!text.sequences.empty(), InvalidArgument, "verify: no sequences to compare on");
  const int64_t ids = std::min(first.model.config().vocab_size, other.model.config().vocab_size);
  const int64_t held = first.hidden_bytes / 4 / first.model.config().hidden_size;
  Accumulator sums(ids);
  int64_t before = 0;
  for (const EvalText& part : parts_of(text, held)) {
    sums.set_first_sequence(before);
    compare_part(first, other, part, ids, sums);
    before += static_cast<int64_t>(part.sequences.size());
  }
  return std::move(sums).result();
}

}  // namespace prunus
