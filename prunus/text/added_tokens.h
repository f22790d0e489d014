#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prunus/text/json_view.h"

namespace prunus::text {

/// A token recognised in the text as it stands, before any word is cut.
struct AddedToken {
  int64_t id = -1;
  std::string content;
  bool special = false;      ///< left out by decode(skip_special)
  bool normalized = false;   ///< looked for in the normalised text, in its own normalised spelling
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
  bool single_word = false;  ///< only where no letter or digit touches it
};

/// Reads `content` and the flags of an AddedToken object; `id` is left alone. Throws Corrupt.
AddedToken read_added_token(const JsonView& node);

/// Finds added tokens in a text: leftmost first, the longest at each place.
class AddedTokens {
 public:
  AddedTokens();
  /// Makes `token` known under the spelling `pattern`; an empty pattern is never found.
  void add(const AddedToken& token, std::string_view pattern);

  /// A stretch of the text: an added token (`id` >= 0) or text between two of them (`id` -1).
  struct Part {
    size_t begin;
    size_t end;
    int64_t id;
  };
  /// Cuts `text` (valid UTF-8) into parts, none of them empty.
  /// Cost: one pass, one table look-up a byte where no token begins.
  std::vector<Part> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<char, uint32_t>> next;
    int32_t token = -1;
  };
  struct Match {
    size_t end = 0;
    int32_t token = -1;
  };
  uint32_t child(uint32_t node, char byte) const;
  Match longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> trie_;
  std::array<uint32_t, 256> first_{};  ///< node of each first byte, 0 for none
};

}  // namespace prunus::text
