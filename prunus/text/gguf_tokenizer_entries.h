#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/io/gguf_entry.h"

namespace prunus {

/// How a tokenizer goes into a GGUF file.
struct GgufTokenizerOptions {
  /// Rows of the embedding: the vocabulary is padded to as many tokens, "[PAD0]" and so on. 0: as
  /// many as the tokenizer has.
  int64_t vocab_size = 0;
  /// The name for tokenizer.ggml.pre; empty: found by the rule that cuts a text into words.
  std::string pre = {};
  /// Of a GGUF file: ids of its tokens that stay, ascending, with the trees of those that merges
  /// make (text/token_trees.h); they are numbered from 0, and what names them follows. Empty: all.
  std::vector<int64_t> keep = {};
};

/// The tokenizer of a model as metadata of a GGUF file, in the order in which llama.cpp's converter
/// writes it: tokenizer.ggml.model, pre, tokens, scores, token_type, merges, the ids of special
/// tokens, add_bos_token and the like, tokenizer.chat_template. `model`: a Hugging Face directory,
/// or a GGUF file, whose own entries are copied (and padded where it has fewer tokens than
/// vocab_size).
/// Throws as load_tokenizer; Unsupported where llama.cpp has no such tokenizer: the message says
/// what stands in the way, and which names `pre` may have where only that is not found;
/// InvalidArgument for a `pre` that llama.cpp does not know and a vocabulary larger than
/// vocab_size.
std::vector<GgufEntry> gguf_tokenizer_entries(const std::string& model,
                                              const GgufTokenizerOptions& options = {});

}  // namespace prunus
