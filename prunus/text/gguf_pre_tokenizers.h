#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace prunus::text {

/// How a byte-level vocabulary cuts a text into words: what a name of `tokenizer.ggml.pre` stands
/// for. The patterns are those of the models' own tokenizer.json, where llama.cpp's differ.
/// Source: llama.cpp v0.4.0, llama-vocab.cpp; transformers 5.24.
struct GgufPreTokenizer {
  /// As llama.cpp reads them; the first is the one that is written.
  std::vector<std::string_view> names;
  /// Regular expressions, each cutting what the ones before left; then the bytes are spelled.
  /// Empty: GPT-2's own, which ByteLevel has.
  std::vector<std::string_view> splits;
  bool digits = false;         ///< every digit on its own, before GPT-2's pattern
  bool nfc = false;            ///< the models normalise their text (llama.cpp does not)
  bool ignore_merges = false;  ///< a word of the vocabulary is that token, whatever the merges say
  bool adds_bos = false;       ///< where the file does not say
  bool no_bos = false;         ///< has none unless the file names one

  /// `pre_tokenizer` of a tokenizer.json.
  nlohmann::json part() const;
};

/// All that Prunus knows.
std::span<const GgufPreTokenizer> gguf_pre_tokenizers();

/// The one of this name, or null.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

/// All names, sorted and joined by commas, for messages.
std::string gguf_pre_tokenizer_names();

/// What a tokenizer.json has that decides its name.
struct WordRule {
  const nlohmann::json& pre_tokenizer;
  bool nfc = false;
  bool ignore_merges = false;
  bool has_bos = false;
};

/// The name whose words are those of `rule`; nothing where there is none.
std::optional<std::string> gguf_pre_tokenizer_name(const WordRule& rule);

}  // namespace prunus::text
