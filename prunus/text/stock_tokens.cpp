#include "prunus/text/stock_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/token_model.h"

namespace prunus::text {
namespace {

constexpr std::array kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};
constexpr const char* kExtra = "extra_special_tokens";
constexpr const char* kOldExtra = "additional_special_tokens";

bool is_standard(std::string_view key) {
  return std::find(kNames.begin(), kNames.end(), key) != kNames.end();
}

JsonView member(const JsonView& file, const std::string& key) {
  return {file.raw().at(key), c10::str(file.where(), ": ", key)};
}

AddedToken special_token(std::string content) {
  return {.id = -1, .content = std::move(content), .special = true};
}

AddedToken read_token(const JsonView& node) {
  if (node.raw().is_string()) return special_token(node.raw().get<std::string>());
  PRUNUS_CHECK(node.raw().is_object(), Corrupt, node.where(), ": is ", node.raw().type_name(),
               ", expected a string or a token object");
  return read_added_token(node);
}

int64_t read_id(const std::string& key, const std::string& where) {
  int64_t id = -1;
  const char* last = key.data() + key.size();
  const auto [end, error] = std::from_chars(key.data(), last, id);
  PRUNUS_CHECK(error == std::errc() && end == last, Corrupt, where, ": key is not a token id");
  return id;
}

int64_t check_id(int64_t id, const std::string& where) {
  PRUNUS_CHECK(id >= 0 && id <= kMaxTokenId, Corrupt, where, ": token id ", id,
               " is out of range [0, ", kMaxTokenId, "]");
  return id;
}

std::vector<AddedToken> read_decoder(const JsonView& decoder) {
  PRUNUS_CHECK(decoder.raw().is_object(), Corrupt, decoder.where(), ": is ",
               decoder.raw().type_name(), ", expected an object");
  std::vector<AddedToken> tokens;
  std::set<int64_t> ids;
  std::set<std::string> contents;
  for (const auto& [key, value] : decoder.raw().items()) {
    const std::string where = c10::str(decoder.where(), ".", key);
    AddedToken token = read_added_token(JsonView(value, where));
    token.id = check_id(read_id(key, where), where);
    PRUNUS_CHECK(ids.insert(token.id).second && contents.insert(token.content).second, Corrupt,
                 where, ": added token '", token.content, "' is given twice");
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

StockTokens::StockTokens(const SidecarFiles& files, const StockClass* stock)
    : files_(files), stock_(stock) {
  read_config();
  config_has_extra_ = extra_.has_value();
  if (!decoder_given_) {
    read_map();
    read_added();
  }
  if (stock_ == nullptr) return;
  for (const auto& [key, content] : stock_->special) {
    if (!given(key)) name(key, special_token(content));
  }
}

void StockTokens::name(const std::string& key, std::optional<AddedToken> token) {
  if (token) token->special = true;
  if (!is_standard(key) && !named_.contains(key)) order_.push_back(key);
  named_[key] = std::move(token);
}

void StockTokens::read_config() {
  const JsonView config = files_.config();
  const auto& raw = config.raw();
  decoder_given_ = config.has("added_tokens_decoder");
  if (decoder_given_) listed_ = read_decoder(config.at("added_tokens_decoder"));
  for (const char* key : kNames) {
    if (!raw.contains(key)) continue;
    const JsonView value = member(config, key);
    name(key, value.is_null() ? std::nullopt : std::optional(read_token(value)));
  }
  const std::vector<std::string> keys = files_.config_keys();
  for (const bool objects : {true, false}) {  // a model's own tokens; transformers' order
    for (const std::string& key : keys) {
      if (is_standard(key) || !key.ends_with("_token")) continue;
      const JsonView value = member(config, key);
      if (objects ? value.raw().is_object() : value.raw().is_string()) name(key, read_token(value));
    }
  }
  const bool old = raw.contains(kOldExtra) && (!config.has(kExtra) || raw.at(kExtra).empty());
  if (old || raw.contains(kExtra)) read_extra(member(config, old ? kOldExtra : kExtra));
}

void StockTokens::read_extra(const JsonView& list) {
  if (!extra_) extra_.emplace();
  if (list.is_null()) return;
  if (list.raw().is_object()) {
    for (const auto& [key, value] : list.raw().items()) {
      name(key, read_token(JsonView(value, c10::str(list.where(), ".", key))));
    }
    return;
  }
  for (const JsonView& element : list.elements()) extra_->push_back(read_token(element));
}

void StockTokens::read_map() {
  const JsonView map = files_.map();
  for (const auto& [key, raw] : map.raw().items()) {
    const JsonView value = member(map, key);
    if (key == kExtra || (key == kOldExtra && !config_has_extra_)) {
      read_extra(value);
    } else if (is_standard(key)) {
      name(key, value.is_null() ? std::nullopt : std::optional(read_token(value)));
    } else if (key.ends_with("_token") && (raw.is_string() || raw.is_object())) {
      name(key, read_token(value));
    }
  }
}

void StockTokens::read_added() {
  std::set<std::string> special;
  for (const auto& [key, token] : named_) {
    if (token) special.insert(token->content);
  }
  for (const AddedToken& token : extra_.value_or(std::vector<AddedToken>())) {
    special.insert(token.content);
  }
  const JsonView added = files_.added();
  std::set<int64_t> ids;
  for (const auto& [content, value] : added.raw().items()) {
    PRUNUS_CHECK(value.is_number_integer(), Corrupt, added.where(), ": id of '", content,
                 "' is not an integer");
    AddedToken token{.id = check_id(value.get<int64_t>(), added.where()), .content = content};
    token.special = special.contains(content);
    token.normalized = !token.special;
    PRUNUS_CHECK(ids.insert(token.id).second, Corrupt, added.where(), ": id ", token.id,
                 " is given twice");
    listed_.push_back(std::move(token));
  }
}

void StockTokens::set_extra_of_pieces(std::vector<AddedToken> tokens) {
  if (!config_has_extra_) extra_ = std::move(tokens);
}

std::vector<AddedToken> StockTokens::to_add(const std::vector<AddedToken>& in_file) const {
  std::map<int64_t, AddedToken> by_id;
  for (const AddedToken& token : listed_) by_id[token.id] = token;
  std::set<std::string> known;
  for (const AddedToken& token : in_file) {
    if (!decoder_given_) by_id[token.id] = token;
    if (keeps_file_tokens()) known.insert(token.content);
  }
  std::vector<AddedToken> tokens;
  for (const auto& [id, token] : by_id) {
    known.insert(token.content);
    tokens.push_back(token);
  }
  std::vector<AddedToken> special;
  std::set<std::string> names;
  std::vector<std::string> keys(kNames.begin(), kNames.end());
  keys.insert(keys.end(), order_.begin(), order_.end());
  for (const std::string& key : keys) {
    const auto found = named_.find(key);
    if (found == named_.end() || !found->second) continue;
    special.push_back(*found->second);
    names.insert(found->second->content);
  }
  if (extra_) special.insert(special.end(), extra_->begin(), extra_->end());
  for (const AddedToken& token : special) {
    if (known.insert(token.content).second) tokens.push_back(token);
  }
  for (AddedToken& token : tokens) token.special = token.special || names.contains(token.content);
  if (stock_ != nullptr && stock_->adds_special_again) {
    for (const AddedToken& token : special) tokens.push_back(special_token(token.content));
  }
  std::erase_if(tokens, [](const AddedToken& token) { return token.content.empty(); });
  return tokens;
}

std::map<std::string, std::string> StockTokens::contents() const {
  std::map<std::string, std::string> all;
  for (const auto& [key, token] : named_) {
    if (token) all[key] = token->content;
  }
  return all;
}

std::optional<std::string> StockTokens::content(const std::string& key) const {
  const auto found = named_.find(key);
  if (found == named_.end() || !found->second) return std::nullopt;
  return found->second->content;
}

SpecialIds StockTokens::resolve(SpecialIds found, const IdOf& id_of, int64_t limit) const {
  const auto one = [&](const char* key, std::optional<int64_t> stock) -> std::optional<int64_t> {
    if (!given(key)) return stock ? stock : files_.model_id(key, limit);
    const auto token = content(key);
    if (!token || token->empty()) return std::nullopt;
    const auto id = id_of(*token);
    PRUNUS_CHECK(id, Corrupt, files_.dir(), ": ", key, " is '", *token,
                 "', which the vocabulary does not have; files of two tokenizers mixed?");
    return id;
  };
  const auto stock_bos = found.bos;
  found.bos = one("bos_token", found.bos);
  found.eos = one("eos_token", found.eos);
  found.adds_bos = found.adds_bos && found.bos && found.bos == stock_bos;
  return found;
}

}  // namespace prunus::text
