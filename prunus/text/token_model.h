#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prunus/text/json_view.h"

namespace prunus::text {

/// How a model comes to a token.
struct TokenMaking {
  /// Whether its own text, as a word, becomes the token; if not, merges never make it.
  bool reachable = true;
  /// The tokens that the last merge joins there; none where no merge is needed.
  std::optional<std::pair<int64_t, int64_t>> parts = std::nullopt;
};

/// The `model` of a tokenizer.json: gives a word its tokens. Immutable after loading.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
  /// The token of an id, or null where the vocabulary has none.
  virtual const std::string* token_of(int64_t id) const = 0;
  /// One more than the largest id.
  virtual int64_t id_limit() const = 0;
  /// How many tokens there are; less than id_limit() where ids have holes.
  virtual int64_t size() const = 0;

  /// Appends the ids of one word (valid UTF-8, already spelled as the vocabulary is).
  /// Throws InvalidArgument where the word is 2 GiB or more.
  virtual void tokenize(std::string_view word, std::vector<int64_t>& ids) const = 0;

  /// Whether a word may be cut in front of each space mark (U+2581) that follows another character,
  /// and its pieces tokenized one by one, without changing any id.
  virtual bool cuts_at_marks() const { return false; }

  /// How it comes to a token; wherever the token comes out of a longer word, the merges inside it
  /// are the same. Not reachable where the vocabulary has no such id.
  virtual TokenMaking making_of(int64_t id) const {
    return {.reachable = token_of(id) != nullptr, .parts = std::nullopt};
  }

  /// Ids without which some text would lose characters, whatever else the vocabulary has: the 256
  /// bytes and the space mark of a model that falls back to bytes, else all single characters; the
  /// unknown token; what the scores of unknown characters depend on. In no order, perhaps twice.
  virtual std::vector<int64_t> indispensable() const = 0;

  /// "bpe" or "unigram".
  virtual std::string_view kind() const = 0;
};

/// Reads a model of type BPE or Unigram. Throws Unsupported for other types; as their constructors.
std::unique_ptr<TokenModel> read_model(const JsonView& model);

/// Largest id accepted from a file; keeps a hostile one from asking for gigabytes.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

/// The tokens that spell what no other token does: the bytes of `byte_ids` (-1: none) where the
/// model falls back to them, single characters unless there are all 256 of those, and the space
/// mark, which as bytes would not come back as a space.
std::vector<int64_t> spelling_ids(const TokenModel& model, bool byte_fallback,
                                  const std::array<int32_t, 256>& byte_ids);

/// The name of the token that stands for a byte where a character has none: "<0x0A>".
std::string byte_token(size_t byte);

}  // namespace prunus::text
