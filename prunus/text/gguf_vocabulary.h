#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "prunus/io/gguf_value.h"

namespace prunus::text {

/// Types of tokens; the numbers are the file's, and those of sentencepiece.
enum class GgufTokenType : uint8_t {
  Undefined,
  Normal,
  Unknown,
  Control,
  UserDefined,
  Unused,
  Byte
};

/// The tokenizer's metadata of a GGUF file, checked: every id below is one of `tokens`.
struct GgufVocabulary {
  enum class Kind { SentencePiece, ByteLevel, Unigram };  ///< "llama", "gpt2", "t5"
  Kind kind;
  std::string pre = {};                   ///< "default" where the file has none
  std::vector<std::string> tokens = {};   ///< valid UTF-8, no two alike, none empty
  std::vector<GgufTokenType> types = {};  ///< as many; Normal where the file has none
  std::vector<double> scores = {};        ///< as many, finite; empty for ByteLevel
  std::vector<std::pair<std::string, std::string>> merges = {};  ///< ByteLevel only
  std::string charsmap = {};                                     ///< Unigram only, may be empty

  std::optional<int64_t> bos = {}, eos = {}, unk = {}, pad = {}, sep = {}, mask = {};
  std::optional<int64_t> eot = {}, eom = {};  ///< end of a turn, of a message
  bool adds_bos = false;
  bool adds_eos = false;
  bool adds_space = false;      ///< a space goes in front of a text, and behind every special token
  bool removes_spaces = false;  ///< several become one, those at the end none
  bool strips_behind = false;   ///< special tokens take the white space behind them along

  /// Chat templates by name; the one without is called "default".
  std::map<std::string, std::string> chat_templates = {};
  int64_t context_length = 0;  ///< 0 where the file does not say
};

using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

/// Reads and checks the tokenizer of a file's metadata, with llama.cpp's rules for what is not
/// said; `where` names the file. A token of more than 2,048 bytes is Corrupt.
/// Throws NotFound, Corrupt, Unsupported as gguf_tokenizer_files().
/// Source: llama.cpp v0.4.0, llama-vocab.cpp. Differs: an id that is no token, an unknown type of a
/// token and lists of unequal lengths are errors, not passed over.
GgufVocabulary read_gguf_vocabulary(const GgufMetadata& metadata, const std::string& where);

/// Ids at which llama.cpp ends a text, EOS first, none twice: EOS, EOT, EOM, and control tokens
/// that are spelled as one of the known ends of a turn.
std::vector<int64_t> end_ids(const GgufVocabulary& vocabulary);

}  // namespace prunus::text
