#pragma once
#include <cstdint>
#include <string>

#include "prunus/eval/perplexity.h"

namespace prunus {

struct DivergenceOptions {
  /// Tokens of the dense distribution that are told apart; the others are one bucket. At least 1;
  /// the whole vocabulary where it is smaller.
  int64_t top_k = 512;
  /// File that keeps the dense model's part, made where it is missing or belongs to something else;
  /// (8·top_k + 8) bytes a token. Empty: a temporary file.
  std::string cache = {};
  /// What tells this dense model from others (checkpoint_hash). Needed with `cache`.
  std::string dense_hash = {};
};

/// How far a model's next-token distribution q is from the dense model's p.
struct Divergence {
  int64_t tokens = 0;
  Estimate kl;         ///< nats a token; the sequences are the units
  Estimate agreement;  ///< share of places where q's likeliest token is p's
  Estimate dense_nll;  ///< nats a token
  Estimate model_nll;
  int64_t top_k = 0;
  bool exact = false;         ///< top_k is the whole vocabulary; else kl is a lower bound
  bool cache_reused = false;  ///< the dense model was not run
};

/// Forward KL(p ‖ q) = Σ_j p_j (log p_j − log q_j) per scored token, j over p's top_k likeliest
/// tokens and one bucket for the rest: by the data processing inequality a lower bound of the full
/// KL, equal to it with the whole vocabulary. First the dense model, then the other, both layer by
/// layer; logits are in memory 128 MiB at a time. FP32 logits, sums in FP64.
/// Throws InvalidArgument where the vocabularies differ, top_k < 1, a cache is named without a hash
/// or names a file of another kind; Numeric; Corrupt (a damaged cache); Io; Interrupted.
Divergence measure_divergence(const ScoringModel& dense, const ScoringModel& model,
                              const EvalText& text, const DivergenceOptions& options = {});

/// SHA-256 over config.json and every weight file of a model directory: reads all of them once.
std::string checkpoint_hash(const std::string& model_dir);

}  // namespace prunus
