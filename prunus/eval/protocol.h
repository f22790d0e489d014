#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "prunus/eval/perplexity.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

/// How a text becomes sequences to score.
enum class PerplexityRule {
  /// One BOS in front where the tokenizer adds one, the text tokenised once, chunks of N ids, the
  /// remainder dropped, N − 1 predictions a chunk (GPTQ, SparseGPT, Wanda). A jsonl file without a
  /// name goes document by document (read_eval_text).
  Paper,
  /// The same; PTB is the validation split joined by "\n\n" (Ma et al., arXiv:2305.11627, code).
  LlmPruner,
  /// Whole documents in windows of at most N ids, every id predicted once, the first of a document
  /// from BOS (or EOS); what goes down to words and bytes. Source: `loglikelihood_rolling` and the
  /// `wikitext` task of lm-evaluation-harness 0.4.13.
  LmEvalWord,
};

/// "paper", "llm-pruner", "lm-eval-word". Throws InvalidArgument listing these.
PerplexityRule parse_perplexity_rule(std::string_view name);
std::string_view name_of_rule(PerplexityRule rule);

/// The texts that papers measure on.
enum class NamedText { None, WikiText2, Ptb, C4 };

/// A text as asked for.
struct TextRequest {
  NamedText text = NamedText::None;
  std::string path;               ///< empty: to be looked up
  std::optional<int64_t> seqlen;  ///< ids a chunk, or at most so many a window
};

/// FILE, or NAME[@N][=FILE] with NAME one of wikitext2, ptb, c4. What is not of the second form is
/// a file. Throws InvalidArgument for N that is no number.
TextRequest parse_text_request(const std::string& argument);

/// Where to look for texts that come without a file, and what holds where nothing else is said.
struct ProtocolOptions {
  PerplexityRule rule = PerplexityRule::Paper;
  std::string text_dir = {};
  /// Where the request has no @N. Default: 128, a context's length for lm-eval-word and documents.
  std::optional<int64_t> seqlen = {};
};

/// The file of a request. Named texts are looked up in text_dir under these names, first found:
/// wikitext2: wiki.test.raw, wiki.test.joined.txt (lm-eval-word: the first only);
/// ptb: ptb.test.txt, ptb.valid.txt (llm-pruner: ptb.valid.txt only);
/// c4: c4-validation.jsonl, c4-validation.json, c4-validation.00000-of-00008.json.
/// Throws InvalidArgument without text_dir, NotFound naming what was looked for.
std::string find_text(const TextRequest& request, const ProtocolOptions& options);

/// The sequences of a request under a rule. How the string to tokenise is made:
/// wikitext2: rows (wikitext_rows of *.raw and *.tokens, `text` of jsonl) joined by "\n\n"; any
/// other file is that string already. ptb: lines without blanks at their ends, joined by " ";
/// llm-pruner: by "\n\n". c4: the first 1,100 documents joined by " ", at most 256 chunks.
/// A file without a name: as it is; jsonl under llm-pruner: joined by "\n\n".
/// lm-eval-word: wikitext2's pages, detokenised, words and bytes of the page as it was; jsonl: its
/// documents; any other text is one document.
/// protocol: "wikitext2@N", "chunked-N", "documents-N" (Paper); else "llm-pruner:…" or
/// "lm-eval-word:…" before "wikitext2@N", "text@N".
/// Throws as find_text and read_documents; InvalidArgument for a length out of range, or where
/// lm-eval-word finds neither BOS nor EOS; Corrupt for too short a text.
EvalText make_eval_text(const TextRequest& request, const ProtocolOptions& options,
                        const Tokenizer& tokenizer, int64_t context);

}  // namespace prunus
