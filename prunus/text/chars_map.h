#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/json_view.h"

namespace prunus::text {

/// The character map of a sentencepiece model, as normalizer Precompiled of a tokenizer.json has
/// it: a Darts-clone double array from strings to offsets into a list of replacements.
class CharsMap {
 public:
  /// Reads `precompiled_charsmap` of `node`: base64 of the array's size in bytes (uint32), the
  /// array, the replacements, each ended by a zero byte; little-endian. Throws Corrupt.
  explicit CharsMap(const JsonView& node);

  /// `text` (valid UTF-8) with its grapheme clusters replaced. A cluster of fewer than 6 bytes that
  /// begins with a string of the map is replaced whole by what the shortest such string becomes;
  /// the characters of any other are looked up one by one. That loses marks behind a mapped letter,
  /// and is what Hugging Face tokenizers does (sentencepiece itself takes the longest string).
  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> replacement(std::string_view text) const;
  void append_cluster(std::string& out, std::string_view cluster) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace prunus::text
