#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace prunus::text {

/// What a tokenizer is learned from.
struct TrainingWords {
  std::map<std::string, int64_t> counts;  ///< every different word and how often it occurs
  std::string characters;                 ///< those that get a piece, as UTF-8: the space, then by
                                          ///< falling frequency
  int64_t character_count = 0;            ///< how many these are
};

/// Cuts texts into the words within which pieces may be learned. A word is a run of spaces and what
/// follows it up to the next space; in front of every text stands one space more, as when it is
/// encoded. No word reaches across a control character (a line break, a tab, NUL), U+2581 (which
/// would be taken for a space), U+2585 (which sentencepiece reserves) or the name of a special or
/// byte piece (<s>, <0x0A>): those are never learned.
/// Nor does a word hold a character without a piece: as many of the commonest characters get one
/// as make up the share `coverage` of the text; of equally common ones the lower code point first.
/// Words of more than 1024 characters are cut.
/// Throws InvalidArgument where a text is not valid UTF-8; Interrupted.
TrainingWords count_words(const std::vector<std::string>& documents, double coverage);

}  // namespace prunus::text
