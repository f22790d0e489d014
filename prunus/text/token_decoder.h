#pragma once
#include <optional>
#include <string>
#include <vector>

#include "prunus/text/json_view.h"
#include "prunus/text/text_pattern.h"

namespace prunus::text {

/// The `decoder` of a tokenizer.json: puts tokens together into text.
class TokenDecoder {
 public:
  /// Joins tokens with spaces, which is what Hugging Face does where `decoder` is null.
  TokenDecoder() = default;
  /// Reads ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence. Throws
  /// Unsupported, naming the field, for any other; Corrupt for malformed ones.
  explicit TokenDecoder(const JsonView& node);

  /// The text of `tokens`. Steps run in order, each on the whole list.
  std::string decode(std::vector<std::string> tokens) const;

 private:
  enum class Kind { ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip };
  struct Step {
    Kind kind;
    std::optional<TextPattern> replaced = {};
    std::string pattern = {};  ///< Metaspace: what is replaced; Strip: what is cut off
    std::string content = {};  ///< Replace: by what
    int64_t start = 0;         ///< Strip: how many at most at the front of each token
    int64_t stop = 0;          ///< Strip: how many at most at the end
    bool drop_first = false;   ///< Metaspace: marks of the first token are not spaces
  };
  void read(const JsonView& node);
  static void run(const Step& step, std::vector<std::string>& tokens);

  std::vector<Step> steps_;
  bool joins_with_spaces_ = true;
};

}  // namespace prunus::text
