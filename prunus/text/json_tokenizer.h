#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/added_tokens.h"
#include "prunus/text/json_view.h"
#include "prunus/text/normalizer.h"
#include "prunus/text/pre_tokenizer.h"
#include "prunus/text/special_ids.h"
#include "prunus/text/string_map.h"
#include "prunus/text/token_decoder.h"
#include "prunus/text/token_model.h"
#include "prunus/text/tokenizer.h"
#include "prunus/text/word_cache.h"

namespace prunus::text {

/// The tokenizer of a tokenizer.json. A text goes through five stages: added
/// tokens are cut out, the rest is normalised, normalised added tokens are cut out, the rest is cut
/// into words, and each word goes through the model (or the cache of words).
class JsonTokenizer : public Tokenizer {
 public:
  /// `document` is the root of the file. Throws Corrupt and Unsupported, naming the field.
  JsonTokenizer(const JsonView& document, const SidecarFiles& sidecar);

  std::vector<int64_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  std::string_view kind() const override;

 private:
  void add(const AddedToken& token, const std::string& where);
  std::optional<int64_t> id_of(std::string_view token) const;
  void encode_plain(std::string_view text, bool at_start, WordCache& cache,
                    std::vector<int64_t>& ids) const;
  void encode_word(std::string_view word, WordCache& cache, std::vector<int64_t>& ids) const;
  void encode_piece(std::string_view piece, WordCache& cache, std::vector<int64_t>& ids) const;

  std::unique_ptr<TokenModel> model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  TokenDecoder decoder_;
  std::map<int64_t, AddedToken> added_;
  StringMap<int64_t> added_ids_;
  AddedTokens in_raw_text_;
  AddedTokens in_normalized_text_;
  mutable SharedWordCache cache_;
};

/// tokenizer.json in `model_dir`.
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& model_dir);

/// vocab.json and merges.txt in `model_dir`: the tokenizer.json they stand for is put together and
/// read. Throws Unsupported where tokenizer_class is not known to be plain byte-level BPE.
std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& model_dir);

}  // namespace prunus::text
