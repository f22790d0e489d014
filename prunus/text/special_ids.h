#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/added_tokens.h"
#include "prunus/text/json_view.h"
#include "prunus/text/tokenizer.h"

namespace prunus::text {

/// The id of a token by its content, or nothing.
using IdOf = std::function<std::optional<int64_t>(std::string_view)>;

/// The small files beside a tokenizer (tokenizer_config.json, special_tokens_map.json, …) and what
/// they say about special tokens. Every file may be missing. Throws Corrupt for malformed ones.
class SidecarFiles {
 public:
  explicit SidecarFiles(std::string model_dir);

  /// `tokenizer_class` of tokenizer_config.json, without a trailing "Fast"; empty if absent.
  std::string tokenizer_class() const;
  /// A flag of tokenizer_config.json, or nothing.
  std::optional<bool> flag(const char* key) const;
  /// Tokens added on top of a vocabulary that does not list them itself: added_tokens_decoder of
  /// tokenizer_config.json, then added_tokens.json; ids in range and each used once.
  std::vector<AddedToken> added_tokens() const;
  /// Content of bos_token, eos_token, unk_token and pad_token, as far as they are given.
  std::vector<std::string> named_tokens() const;

  /// Final BOS, EOS, adds_bos and prefix. `stock` holds what the tokenizer file itself says; files
  /// beside it win. `limit` bounds ids taken from config.json.
  SpecialIds resolve(const SpecialIds& stock, const IdOf& id_of, int64_t limit) const;

 private:
  struct Named {
    bool given = false;                  ///< some file has the key, be it null
    std::optional<std::string> content;  ///< nothing for null
  };
  Named named(const char* key) const;
  std::optional<int64_t> resolve_one(const char* key, std::optional<int64_t> stock,
                                     const IdOf& id_of, int64_t limit) const;

  std::string dir_;
  std::shared_ptr<const nlohmann::json> config_;  // tokenizer_config.json, {} where missing
  std::shared_ptr<const nlohmann::json> map_;     // special_tokens_map.json, {} where missing
};

/// BOS and EOS as the `post_processor` of a tokenizer.json puts them around a text, adds_bos and
/// the whole prefix.
/// Only TemplateProcessing says anything; other processors are passed over.
SpecialIds template_ids(const JsonView& post_processor, const IdOf& id_of);

}  // namespace prunus::text
