#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/model/lm_head.h"
#include "prunus/model/model.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

/// A document that is scored as a whole: its share of the sequences, and what its −log p is
/// divided by.
struct EvalDocument {
  int64_t sequences = 0;  ///< the next so many of EvalText::sequences
  int64_t words = 0;
  int64_t bytes = 0;
};

/// Sequences to score and the name of the protocol that made them.
struct EvalText {
  std::string protocol;  ///< e.g. "chunked-128", "documents-512", "wikitext2@128"
  std::vector<std::vector<int64_t>> sequences;
  /// How many ids at the end of each sequence are scored. Empty: every id but the first.
  std::vector<int64_t> scored = {};
  /// Empty where the sequences themselves are the units.
  std::vector<EvalDocument> documents = {};
  int64_t seqlen = 0;       ///< ids a chunk, or at most so many a document or window
  std::string sha256 = {};  ///< of the text as tokenised; documents each followed by a newline
};

/// Reads an evaluation text.
/// jsonl: one sequence per line's `text`: BOS (where the tokenizer adds one), then its tokens, cut
/// to `seqlen`, or to `context` where none is given; protocol "documents-N".
/// Anything else: the file whole, tokenised once with one BOS, cut into chunks of `seqlen` (128
/// where none is given), the remainder dropped; protocol "chunked-N". This is the protocol of the
/// GPTQ, SparseGPT, Wanda and LLM-Pruner papers; they differ in N, so never compare across N.
/// Other protocols and the papers' texts by name: eval/protocol.h.
/// Throws InvalidArgument for seqlen < 2 or longer than the context; Corrupt for too short a text.
EvalText read_eval_text(const std::string& path, const Tokenizer& tokenizer,
                        std::optional<int64_t> seqlen, int64_t context);

/// Ids of a text, BOS in front where the tokenizer adds one.
std::vector<int64_t> encode_with_bos(const Tokenizer& tokenizer, const std::string& text);

/// Chunks of exactly `seqlen` ids of `text` tokenised once; the remainder is dropped. `where` names
/// the text in messages. Throws Corrupt where there is not one chunk.
std::vector<std::vector<int64_t>> chunks_of(const Tokenizer& tokenizer, const std::string& text,
                                            int64_t seqlen, const std::string& where);

/// Ids a chunk where neither option nor file says it: LLM-Pruner's.
inline constexpr int64_t kDefaultChunk = 128;

/// seqlen, or `fallback` (at most the context) where none is given. Throws InvalidArgument where it
/// is below 2 or above the context.
int64_t checked_seqlen(std::optional<int64_t> seqlen, int64_t fallback, int64_t context);

/// A mean with its standard error; none where there was a single unit.
struct Estimate {
  double value = 0;
  std::optional<double> standard_error;
};

/// R = Σ sums / Σ weights over units drawn independently of each other (chunks, documents), and its
/// standard error by the delta method for a ratio of two means:
///   √(n/(n−1) · Σ (sum_i − R·weight_i)²) / Σ weights.
/// With equal weights this is the sample deviation / √n.
Estimate ratio_estimate(const std::vector<double>& sums, const std::vector<double>& weights);

/// exp(e) with the error carried through the derivative: exp(e) · standard error.
Estimate exp_of(const Estimate& estimate);

struct Perplexity {
  double nll_sum = 0;                    ///< nats
  int64_t tokens = 0;                    ///< scored
  std::vector<double> sequence_nll;      ///< nats, in the order given
  std::vector<int64_t> sequence_tokens;  ///< scored of each
  double ppl() const;                    ///< exp(nll_sum / tokens)
  Estimate nll_per_token() const;        ///< nats; the sequences are the units
};

/// −log p of a text of documents per token, word and byte; the documents are the units.
struct DocumentPerplexity {
  Estimate nll_per_token, nll_per_word, nll_per_byte;  ///< nats
};
DocumentPerplexity document_perplexity(const EvalText& text, const Perplexity& scored);

/// A model, where it computes, and how much memory hidden states may take.
struct ScoringModel {
  const Model& model;
  at::Device device;
  int64_t hidden_bytes = int64_t{512} << 20;
};

/// What the last layer says at the places that predict scored ids, sequence after sequence.
struct ScoredBatch {
  at::Tensor hidden;              ///< [tokens, hidden_size], before the final norm
  at::Tensor targets;             ///< int64 [tokens], on the same device
  std::vector<size_t> sequences;  ///< whose places these are
  std::vector<int64_t> counts;    ///< how many places of each
};
using UseScored = std::function<void(const LmHead& head, const ScoredBatch& batch)>;

/// Runs a text through a model layer by layer, over as many sequences as fit hidden_bytes, then
/// over the next ones: the model need not fit in memory. The order of batches depends on the text
/// alone. Throws InvalidArgument for a sequence with nothing to score; Interrupted.
void for_each_scored_batch(const ScoringModel& scoring, const EvalText& text, const UseScored& use);

/// −log p of every scored id given those before it in its sequence. Throws Numeric where the sum is
/// not finite; InvalidArgument, Interrupted.
Perplexity score_text(const ScoringModel& scoring, const EvalText& text);

/// The same for sequences of which every id but the first is scored.
Perplexity score_sequences(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                           at::Device device, int64_t hidden_bytes = int64_t{512} << 20);

}  // namespace prunus
