#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace prunus {

struct TokenizerTrainOptions {
  int64_t vocab_size = 1024;  ///< pieces in all: <unk>, <s>, </s>, 256 bytes, the characters, the
                              ///< rest learned; at most 2^22
  double character_coverage = 0.9995;  ///< share of the text's characters that get a piece; others
                                       ///< become bytes; (0, 1]
  bool split_digits = true;            ///< every digit its own piece, as in Llama 2
  int64_t model_max_length = 2048;     ///< written to tokenizer_config.json; at least 1
};

/// How a vocabulary is made up.
struct TrainedTokenizer {
  int64_t pieces = 0;      ///< vocab_size
  int64_t characters = 0;  ///< single characters, the space among them
  int64_t learned = 0;     ///< pieces of two characters and more
};

/// Learns a byte-pair tokenizer of Llama 2's kind from text (U+2581 for a space, one put in front
/// of a text, bytes for characters without a piece) and writes what stock loaders read into `dir`,
/// which exists: tokenizer.json, tokenizer.model, tokenizer_config.json, special_tokens_map.json.
/// All give the same ids. Same text and options: same bytes. The learning is sentencepiece's, from
/// the words of count_words(); a line break is always the byte piece <0x0A>.
/// Ctrl-C takes effect before and after the learning, not in it: the library cannot be stopped.
/// Throws InvalidArgument for options out of range, where the text is empty or not valid UTF-8, has
/// more characters than vocab_size has room for (with the least that would do), or too few
/// different words for it (with the largest size that would do); Io; Interrupted.
/// Source: Sennrich et al., arXiv:1508.07909; Kudo & Richardson, arXiv:1808.06226.
TrainedTokenizer train_tokenizer(const std::vector<std::string>& documents,
                                 const TokenizerTrainOptions& options, const std::string& dir);

}  // namespace prunus
