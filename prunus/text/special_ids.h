#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/json_view.h"
#include "prunus/text/tokenizer.h"

namespace prunus::text {

/// The id of a token by its content, or nothing.
using IdOf = std::function<std::optional<int64_t>(std::string_view)>;

/// The small files beside a tokenizer: tokenizer_config.json, special_tokens_map.json,
/// added_tokens.json and the model's config.json. Every file may be missing. Throws Corrupt for
/// malformed ones and for values of the wrong type, naming file and field.
class SidecarFiles {
 public:
  explicit SidecarFiles(std::string model_dir);
  /// As if `config` alone stood beside a tokenizer; `source` names it in messages.
  SidecarFiles(std::string source, nlohmann::json config);

  const std::string& dir() const { return dir_; }
  JsonView config() const;  ///< tokenizer_config.json, {} where missing
  JsonView map() const;     ///< special_tokens_map.json, {} where missing
  JsonView added() const;   ///< added_tokens.json, {} where missing
  JsonView model() const;   ///< config.json, {} where missing
  /// Keys of tokenizer_config.json as they stand in the file; sorted where there is no file.
  std::vector<std::string> config_keys() const;

  /// `tokenizer_class` of tokenizer_config.json, else of config.json, without a trailing "Fast";
  /// empty if absent.
  std::string tokenizer_class() const;
  /// `model_type` of config.json, without the prefix of types that only Prunus writes; empty if
  /// absent.
  std::string model_type() const;
  /// Whether the tokenizer is a Python class that comes with the model: it is none of those of
  /// stock transformers.
  bool own_class() const;
  /// A flag of tokenizer_config.json, or nothing.
  std::optional<bool> flag(const char* key) const;
  /// `key`_id of config.json (of a list the first) or nothing; `limit` bounds it.
  std::optional<int64_t> model_id(const char* key, int64_t limit) const;

 private:
  JsonView view(const std::shared_ptr<const nlohmann::json>& file, const char* name) const;

  std::string dir_;
  bool in_memory_ = false;
  std::shared_ptr<const nlohmann::json> config_;
  std::shared_ptr<const nlohmann::json> map_;
  std::shared_ptr<const nlohmann::json> added_;
  std::shared_ptr<const nlohmann::json> model_;
};

/// What a `post_processor` of a tokenizer.json puts around a single text: prefix and suffix, BOS
/// and EOS (the first of each) and adds_bos. Reads TemplateProcessing, RobertaProcessing,
/// BertProcessing, ByteLevel (which adds nothing) and Sequence. Throws Unsupported, naming the
/// field, for any other; Corrupt for tokens that the vocabulary does not have.
SpecialIds template_ids(const JsonView& post_processor, const IdOf& id_of);

}  // namespace prunus::text
