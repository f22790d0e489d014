#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace prunus::text {

/// <unk>, <s>, </s> and the 256 byte pieces, which a vocabulary of Llama 2's kind begins with.
inline constexpr int64_t kFixedPieces = 3 + 256;

/// The merges that make a fast tokenizer of a sentencepiece one: for every piece, in order of id,
/// each way to split it into two pieces, as "left right", ordered by the id of the left, then of
/// the right. Special and byte pieces are neither made nor used.
/// `pieces`: by id, best score first, the first kFixedPieces as above, no piece twice.
/// Source: the conversion of transformers (SentencePieceExtractor).
std::vector<std::string> merges_of(const std::vector<std::string>& pieces);

/// Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json of a vocabulary of
/// Llama 2's kind into `dir`. `pieces` as for merges_of. Throws Io.
void write_fast_tokenizer(const std::vector<std::string>& pieces, int64_t model_max_length,
                          const std::string& dir);

}  // namespace prunus::text
