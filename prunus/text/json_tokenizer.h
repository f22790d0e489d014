#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/added_tokens.h"
#include "prunus/text/json_view.h"
#include "prunus/text/normalizer.h"
#include "prunus/text/pre_tokenizer.h"
#include "prunus/text/special_ids.h"
#include "prunus/text/stock_tokens.h"
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
  /// `document` is the root of the file, `tokens` what the files beside it add.
  /// Throws Corrupt and Unsupported, naming the field.
  JsonTokenizer(const JsonView& document, const SidecarFiles& files, const StockTokens& tokens);

  std::vector<int64_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  std::string_view kind() const override;

  /// All added tokens in the order of their ids.
  std::vector<AddedToken> added_tokens() const;

 private:
  void add_all(const JsonView& document, const StockTokens& tokens, const std::string& dir);
  void add(AddedToken token, const std::string& where);
  void find_added_tokens();
  int64_t next_id() const;
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
  std::vector<int64_t> added_order_;
  StringMap<int64_t> added_ids_;
  AddedTokens in_raw_text_;
  AddedTokens in_normalized_text_;
  mutable SharedWordCache cache_;
};

/// The tokenizer.json that the generic class of stock transformers needs to give the ids that the
/// class AutoTokenizer picks for `model_dir` gives: that class's parts and all added tokens in one
/// file. Nothing where AutoTokenizer picks the generic class, or there is no tokenizer.json,
/// anyway. Throws as load_tokenizer.
std::optional<nlohmann::json> generic_tokenizer_json(const std::string& model_dir);

/// Whether the tokenizer.json in `model_dir` has a ByteLevel part; false where there is none.
bool has_byte_level_part(const std::string& model_dir);

/// A tokenizer.json, read or put together, and the tokenizer it makes with the files beside it.
struct JsonTokenizerFile {
  std::shared_ptr<nlohmann::json> document;
  std::unique_ptr<JsonTokenizer> tokenizer;
  std::map<std::string, std::string> named;  ///< "bos_token": "<s>", …
};

/// tokenizer.json in `model_dir`, else vocab.json and merges.txt; nothing where neither is there.
/// Throws as load_tokenizer.
std::optional<JsonTokenizerFile> read_json_tokenizer(const std::string& model_dir);

/// tokenizer.json in `model_dir`.
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& model_dir);

/// vocab.json and merges.txt in `model_dir`: the tokenizer.json they stand for is put together and
/// read. Throws Unsupported where tokenizer_class is not known to be plain byte-level BPE.
std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& model_dir);

/// A sentencepiece model as `stock` rebuilds it, or null where that class has no use for one.
/// `content` is that of `path`, tokenizer.model. Throws Corrupt for a file that is none.
std::unique_ptr<Tokenizer> load_rebuilt_sentencepiece(const std::string& path,
                                                      std::string_view content,
                                                      const SidecarFiles& files,
                                                      const StockClass& stock);

}  // namespace prunus::text
