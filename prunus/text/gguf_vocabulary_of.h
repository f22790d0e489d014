#pragma once
#include <string>

#include "prunus/text/gguf_vocabulary.h"

namespace prunus::text {

/// The tokenizer of a Hugging Face directory as llama.cpp would have it; gguf_tokenizer_entries()
/// writes it. `pre`: as GgufTokenizerOptions has it. Throws as gguf_tokenizer_entries().
/// Source: llama.cpp v0.4.0, conversion/base.py. Differs: scores of a vocabulary that has merges
/// instead are made from their order.
GgufVocabulary gguf_vocabulary_of(const std::string& model_dir, const std::string& pre);

}  // namespace prunus::text
