#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prunus {

/// The ids a tokenizer gives a meaning of their own, as the stock Hugging Face tokenizer has them.
struct SpecialIds {
  std::optional<int64_t> bos;  ///< beginning of text; nothing where the model was trained without
  std::optional<int64_t> eos;  ///< end of text
  bool adds_bos = false;       ///< the stock tokenizer puts `bos` in front of every text by default
  std::vector<int64_t> prefix = {};  ///< all it puts there: `bos` where adds_bos, or several ids
  std::vector<int64_t> suffix = {};  ///< what it puts behind every text by default, mostly nothing
};

/// Text to ids and back, equal to the Hugging Face tokenizer of the same directory.
/// Immutable after loading: encode and decode may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Ids of `text`. Neither BOS nor EOS is added; added and special tokens that stand literally in
  /// the text become their one id, as in Hugging Face.
  /// Cost: O(n log n) in the length of the text; words seen before cost one look-up.
  /// Throws InvalidArgument where the text is not valid UTF-8.
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;

  /// Text of `ids`; ids the vocabulary does not know are passed over. Bytes that are not UTF-8 (a
  /// character cut in two) come out as U+FFFD. `skip_special` leaves special tokens out.
  virtual std::string decode(std::span<const int64_t> ids, bool skip_special = true) const = 0;

  std::optional<int64_t> bos_id() const { return special_.bos; }
  std::optional<int64_t> eos_id() const { return special_.eos; }
  bool adds_bos() const { return special_.adds_bos; }
  /// All that the stock tokenizer puts in front of a text by default: nothing, BOS where
  /// adds_bos(), or more than one id ([gMASK] and sop of GLM).
  std::vector<int64_t> prefix_ids() const {
    if (!special_.prefix.empty() || !special_.adds_bos || !special_.bos) return special_.prefix;
    return {*special_.bos};
  }

  /// All that the stock tokenizer puts behind a text by default; mostly nothing.
  const std::vector<int64_t>& suffix_ids() const { return special_.suffix; }

  /// What a document begins with where its beginning shall be marked in any case: prefix_ids(),
  /// else BOS, else nothing.
  std::vector<int64_t> document_start() const {
    if (special_.prefix.empty() && special_.bos) return {*special_.bos};
    return special_.prefix;
  }

  /// One more than the largest id that encode can give, added tokens included.
  int64_t vocab_size() const { return vocab_size_; }

  /// "byte-level-bpe", "bpe" (characters with byte fallback: Llama 2), "unigram" or
  /// "sentencepiece".
  virtual std::string_view kind() const = 0;

 protected:
  Tokenizer() = default;
  SpecialIds special_;
  int64_t vocab_size_ = 0;
};

/// Loads the tokenizer of a Hugging Face model directory, or of a GGUF file (load_gguf_tokenizer).
/// Of a directory the first of these that is there is read:
/// tokenizer.json; tokenizer.model (sentencepiece); vocab.json with merges.txt (byte-level BPE).
/// The ids are those of AutoTokenizer of transformers 5.24 (docs/formats/tokenizers.md): tokens
/// that only the files beside it name are added, and a class that stock software rebuilds has its
/// rules. BOS and EOS come from special_tokens_map.json (unless tokenizer_config.json has
/// added_tokens_decoder), else tokenizer_config.json, else the class, else the post-processor or
/// sentencepiece itself, else config.json. An explicit null means "none".
/// Throws NotFound (no tokenizer file), Corrupt (a file breaks its format or contradicts another),
/// Unsupported (valid, but with parts that Prunus does not implement; the field is named).
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& model_dir);

}  // namespace prunus
