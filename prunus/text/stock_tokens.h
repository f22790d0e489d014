#pragma once
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "prunus/text/added_tokens.h"
#include "prunus/text/special_ids.h"
#include "prunus/text/stock_class.h"

namespace prunus::text {

/// The tokens that the files beside a tokenizer name, as transformers 5.24 reads them:
/// tokenizer_config.json, and where that has no added_tokens_decoder also special_tokens_map.json,
/// which goes before it, and added_tokens.json.
class StockTokens {
 public:
  /// `stock`: the class that AutoTokenizer picks, null for the generic one.
  /// Throws Corrupt, naming file and field, for values of the wrong type and ids out of range.
  StockTokens(const SidecarFiles& files, const StockClass* stock);

  /// Takes these for the extra special tokens, unless tokenizer_config.json lists some: what a
  /// stock class does with the control and user-defined pieces of a sentencepiece model.
  void set_extra_of_pieces(std::vector<AddedToken> tokens);

  /// What is added to a tokenizer whose own file lists `in_file` (with ids), in this order. An id
  /// >= 0 is what a file says that the token's id is.
  std::vector<AddedToken> to_add(const std::vector<AddedToken>& in_file) const;

  /// Whether the tokens that a tokenizer.json lists are in the tokenizer in any case.
  bool keeps_file_tokens() const { return stock_ == nullptr; }

  /// Content of a named token ("bos_token"); nothing where it is null or not given.
  std::optional<std::string> content(const std::string& key) const;
  /// All named tokens that are not null, by name ("bos_token"): what chat templates may use.
  std::map<std::string, std::string> contents() const;
  /// Whether some file names the token, be it as null, or the class does.
  bool given(const std::string& key) const { return named_.contains(key); }

  /// `found` with BOS and EOS as the files name them; else what `found` says, else config.json.
  SpecialIds resolve(SpecialIds found, const IdOf& id_of, int64_t limit) const;

 private:
  void read_config();
  void read_map();
  void read_added();
  void read_extra(const JsonView& list);
  void name(const std::string& key, std::optional<AddedToken> token);

  const SidecarFiles& files_;
  const StockClass* stock_;
  bool decoder_given_ = false;
  std::vector<AddedToken> listed_;  // added_tokens_decoder or added_tokens.json
  std::map<std::string, std::optional<AddedToken>> named_;
  std::vector<std::string> order_;  // of names that only a model's own tokens have
  std::optional<std::vector<AddedToken>> extra_;
  bool config_has_extra_ = false;
};

}  // namespace prunus::text
