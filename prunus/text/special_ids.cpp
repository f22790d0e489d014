#include "prunus/text/special_ids.h"

#include <charconv>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/token_model.h"

namespace prunus::text {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kConfig = "tokenizer_config.json";
constexpr const char* kMap = "special_tokens_map.json";

std::string inside(const std::string& dir, const char* name) {
  return (fs::path(dir) / name).string();
}

std::shared_ptr<const json> read_if_there(const std::string& path) {
  if (!fs::exists(path)) return std::make_shared<const json>(json::object());
  auto document = std::make_shared<const json>(read_large_json(path));
  PRUNUS_CHECK(document->is_object(), Corrupt, path, ": is ", document->type_name(),
               ", expected an object");
  return document;
}

int64_t check_id(int64_t id, const std::string& where) {
  PRUNUS_CHECK(id >= 0 && id <= kMaxTokenId, Corrupt, where, ": token id ", id,
               " is out of range [0, ", kMaxTokenId, "]");
  return id;
}

void read_added_decoder(const JsonView& decoder, std::vector<AddedToken>& tokens) {
  PRUNUS_CHECK(decoder.raw().is_object(), Corrupt, decoder.where(), ": expected an object");
  for (const auto& [key, value] : decoder.raw().items()) {
    const std::string where = c10::str(decoder.where(), ".", key);
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    PRUNUS_CHECK(error == std::errc() && end == key.data() + key.size(), Corrupt, where,
                 ": key is not a token id");
    tokens.push_back(read_added_token(JsonView(value, where)));
    tokens.back().id = check_id(id, where);
  }
}

}  // namespace

SidecarFiles::SidecarFiles(std::string model_dir)
    : dir_(std::move(model_dir)),
      config_(read_if_there(inside(dir_, kConfig))),
      map_(read_if_there(inside(dir_, kMap))) {}

std::string SidecarFiles::tokenizer_class() const {
  const JsonView config(*config_, inside(dir_, kConfig));
  std::string name = config.has("tokenizer_class") ? config.text("tokenizer_class") : "";
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

std::optional<bool> SidecarFiles::flag(const char* key) const {
  const JsonView config(*config_, inside(dir_, kConfig));
  if (!config.has(key)) return std::nullopt;
  return config.flag(key, false);
}

std::vector<AddedToken> SidecarFiles::added_tokens() const {
  std::vector<AddedToken> listed;
  const JsonView config(*config_, inside(dir_, kConfig));
  if (config.has("added_tokens_decoder"))
    read_added_decoder(config.at("added_tokens_decoder"), listed);
  std::set<int64_t> ids;
  std::set<std::string> contents;
  std::vector<AddedToken> tokens;
  for (const auto& token : listed) {
    PRUNUS_CHECK(ids.insert(token.id).second && contents.insert(token.content).second, Corrupt,
                 config.where(), ": added token '", token.content, "' is given twice");
    tokens.push_back(token);
  }
  const std::string path = inside(dir_, "added_tokens.json");
  const auto more = read_if_there(path);
  for (const auto& [content, value] : more->items()) {
    if (contents.contains(content)) continue;
    PRUNUS_CHECK(value.is_number_integer(), Corrupt, path, ": id of '", content,
                 "' is not an integer");
    AddedToken token;
    token.id = check_id(value.get<int64_t>(), path);
    token.content = content;
    PRUNUS_CHECK(ids.insert(token.id).second, Corrupt, path, ": id ", token.id, " is given twice");
    tokens.push_back(token);
  }
  return tokens;
}

SidecarFiles::Named SidecarFiles::named(const char* key) const {
  for (const auto& [document, name] : {std::pair{config_, kConfig}, std::pair{map_, kMap}}) {
    const auto found = document->find(key);
    if (found == document->end()) continue;
    if (found->is_null()) return {.given = true, .content = std::nullopt};
    if (found->is_string()) return {.given = true, .content = found->get<std::string>()};
    const JsonView token(*found, c10::str(inside(dir_, name), ": ", key));
    return {.given = true, .content = token.text("content")};
  }
  return {};
}

std::vector<std::string> SidecarFiles::named_tokens() const {
  std::vector<std::string> contents;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (const auto token = named(key).content) contents.push_back(*token);
  }
  return contents;
}

std::optional<int64_t> SidecarFiles::resolve_one(const char* key, std::optional<int64_t> stock,
                                                 const IdOf& id_of, int64_t limit) const {
  const Named token = named(key);
  if (token.given && !token.content) return std::nullopt;
  if (token.content) {
    const auto id = id_of(*token.content);
    PRUNUS_CHECK(id, Corrupt, dir_, ": ", key, " is '", *token.content,
                 "', which the vocabulary does not have; files of two tokenizers mixed?");
    return id;
  }
  if (stock) return stock;
  const std::string path = inside(dir_, "config.json");
  const auto config = read_if_there(path);
  const auto found = config->find(c10::str(key, "_id"));
  if (found == config->end()) return std::nullopt;
  // Several end-of-text ids may be listed; the first is the tokenizer's.
  const json& value = found->is_array() && !found->empty() ? found->front() : *found;
  if (!value.is_number_integer()) return std::nullopt;
  const auto id = value.get<int64_t>();
  PRUNUS_CHECK(id >= 0 && id < limit, Corrupt, path, ": ", key, "_id ", id,
               " is not in the tokenizer's range [0, ", limit, ")");
  return id;
}

SpecialIds SidecarFiles::resolve(const SpecialIds& stock, const IdOf& id_of, int64_t limit) const {
  SpecialIds ids;
  ids.bos = resolve_one("bos_token", stock.bos, id_of, limit);
  ids.eos = resolve_one("eos_token", stock.eos, id_of, limit);
  // Llama's tokenizer class adds BOS whatever the template says, unless the flag is false.
  const bool by_class = tokenizer_class() == "LlamaTokenizer";
  const bool by_template = stock.adds_bos && stock.bos == ids.bos;
  const auto adds = flag("add_bos_token");
  ids.adds_bos = ids.bos && adds.value_or(by_class || by_template);
  if (stock.prefix.size() > 1 && adds.value_or(true)) {
    ids.prefix = stock.prefix;
  } else if (ids.adds_bos) {
    ids.prefix = {*ids.bos};
  }
  return ids;
}

SpecialIds template_ids(const JsonView& post_processor, const IdOf& id_of) {
  SpecialIds ids;
  if (post_processor.is_null()) return ids;
  const std::string type = post_processor.text("type");
  if (type == "Sequence") {
    for (const auto& part : post_processor.at("processors").elements()) {
      const SpecialIds found = template_ids(part, id_of);
      if (found.bos || found.eos) ids = found;
    }
  }
  if (type != "TemplateProcessing") return ids;
  bool text_seen = false;
  for (const auto& part : post_processor.at("single").elements()) {
    if (part.has("Sequence")) text_seen = true;
    if (!part.has("SpecialToken")) continue;
    const JsonView token = part.at("SpecialToken");
    const auto id = id_of(token.text("id"));
    PRUNUS_CHECK(id, Corrupt, token.where(), ": '", token.text("id"), "' is not in the vocabulary");
    if (!text_seen) ids.prefix.push_back(*id);
    auto& side = text_seen ? ids.eos : ids.bos;
    if (!side) side = id;
  }
  ids.adds_bos = ids.bos.has_value();
  return ids;
}

}  // namespace prunus::text
