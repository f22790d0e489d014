#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prunus/model/model.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

/// Sequences to score and the name of the protocol that made them.
struct EvalText {
  std::string protocol;  ///< e.g. "chunked-128", "documents-512"
  std::vector<std::vector<int64_t>> sequences;
};

/// Reads an evaluation text.
/// jsonl: one sequence per line's `text`: BOS (where the tokenizer adds one), then its tokens, cut
/// to `seqlen`, or to `context` where none is given; protocol "documents-N".
/// Anything else: the file whole, tokenised once with one BOS, cut into chunks of `seqlen` (128
/// where none is given), the remainder dropped; protocol "chunked-N". This is the protocol of the
/// GPTQ, SparseGPT, Wanda and LLM-Pruner papers; they differ in N, so never compare across N.
/// Throws InvalidArgument for seqlen < 2 or longer than the context; Corrupt for too short a text.
EvalText read_eval_text(const std::string& path, const Tokenizer& tokenizer,
                        std::optional<int64_t> seqlen, int64_t context);

struct Perplexity {
  double nll_sum = 0;                ///< nats
  int64_t tokens = 0;                ///< scored: every position but the first of each sequence
  std::vector<double> sequence_nll;  ///< nats, in the order given
  double ppl() const;                ///< exp(nll_sum / tokens)
};

/// −log p of every token given those before it in its sequence, summed. Runs the model layer by
/// layer over as many sequences as fit `hidden_bytes` of hidden states, then over the next ones:
/// the model need not fit in memory. Throws Numeric where the result is not finite; Interrupted.
Perplexity score_sequences(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                           at::Device device, int64_t hidden_bytes = int64_t{512} << 20);

}  // namespace prunus
