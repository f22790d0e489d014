#pragma once
#include <cstdint>

#include "prunus/eval/perplexity.h"

namespace prunus {

/// The place and the token where two models differ most.
struct WorstPlace {
  int64_t sequence = 0;
  int64_t place = 0;  ///< of the scored ones of the sequence
  int64_t id = 0;
  double logit = 0;  ///< of the first model
  double other = 0;
};

/// How far two models' logits are from each other. KL is of the first from the second, in nats;
/// logits in FP32, distributions and sums in FP64.
struct LogitComparison {
  int64_t tokens = 0;  ///< places compared
  int64_t ids = 0;     ///< logits of each: the smaller vocabulary
  double max_abs_diff = 0;
  double mean_abs_diff = 0;
  double max_abs_logit = 0;  ///< of the first model
  double mean_kl = 0;
  double max_kl = 0;
  double top1_agreement = 0;  ///< share of places where the second's likeliest token is the first's
  double nll = 0;             ///< nats a token, of the first
  double other_nll = 0;
  WorstPlace worst;
};

/// Both models' logits at every place of `text` that predicts a scored id. Both are streamed layer
/// by layer, the first one and then the other over as many tokens as hidden states of
/// `first.hidden_bytes` hold, so that neither is in memory whole.
/// Throws Numeric where a logit is not finite; InvalidArgument, Interrupted.
LogitComparison compare_logits(const ScoringModel& first, const ScoringModel& other,
                               const EvalText& text);

}  // namespace prunus
