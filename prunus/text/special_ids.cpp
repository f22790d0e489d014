#include "prunus/text/special_ids.h"

#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/text/token_model.h"

namespace prunus::text {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kConfig = "tokenizer_config.json";
constexpr std::string_view kOwnType = "prunus_";  // what rewritten configs put before model_type

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

int64_t known_id(const JsonView& where, const std::string& token, const IdOf& id_of) {
  const auto id = id_of(token);
  PRUNUS_CHECK(id, Corrupt, where.where(), ": '", token, "' is not in the vocabulary");
  return *id;
}

// A template names its tokens and says elsewhere which ids they stand for.
std::vector<int64_t> ids_of_special(const JsonView& post_processor, const JsonView& token,
                                    const IdOf& id_of) {
  const std::string name = token.text("id");
  if (!post_processor.has("special_tokens")) return {known_id(token, name, id_of)};
  const JsonView all = post_processor.at("special_tokens");
  if (!all.has(name.c_str())) return {known_id(token, name, id_of)};
  std::vector<int64_t> ids;
  for (const JsonView& id : all.at(name.c_str()).at("ids").elements()) {
    const auto& raw = id.raw();
    PRUNUS_CHECK(raw.is_number_unsigned() && raw.get<uint64_t>() <= uint64_t{kMaxTokenId}, Corrupt,
                 id.where(), ": ", raw.dump().substr(0, 40), " is not a token id");
    ids.push_back(raw.get<int64_t>());
  }
  return ids;
}

SpecialIds of_template(const JsonView& post_processor, const IdOf& id_of) {
  SpecialIds ids;
  bool text_seen = false;
  for (const auto& part : post_processor.at("single").elements()) {
    if (part.has("Sequence")) text_seen = true;
    if (!part.has("SpecialToken")) continue;
    const auto found = ids_of_special(post_processor, part.at("SpecialToken"), id_of);
    auto& side = text_seen ? ids.suffix : ids.prefix;
    side.insert(side.end(), found.begin(), found.end());
  }
  return ids;
}

// ["</s>", 2]
int64_t of_pair(const JsonView& pair) {
  const auto parts = pair.elements();
  PRUNUS_CHECK(parts.size() == 2 && parts[0].raw().is_string() &&
                   parts[1].raw().is_number_unsigned() &&
                   parts[1].raw().get<uint64_t>() <= uint64_t{kMaxTokenId},
               Corrupt, pair.where(), ": expected a token and its id");
  return parts[1].raw().get<int64_t>();
}

SpecialIds around(const JsonView& post_processor, const IdOf& id_of) {
  const std::string type = post_processor.text("type");
  if (type == "TemplateProcessing") return of_template(post_processor, id_of);
  SpecialIds ids;
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    ids.prefix = {of_pair(post_processor.at("cls"))};
    ids.suffix = {of_pair(post_processor.at("sep"))};
  } else if (type == "Sequence") {
    for (const auto& part : post_processor.at("processors").elements()) {
      const SpecialIds outer = around(part, id_of);
      ids.prefix.insert(ids.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
      ids.suffix.insert(ids.suffix.end(), outer.suffix.begin(), outer.suffix.end());
    }
  } else {
    PRUNUS_CHECK(type == "ByteLevel", Unsupported, post_processor.where(),
                 ": post-processor type '", type, "' is not supported");
  }
  return ids;
}

}  // namespace

SidecarFiles::SidecarFiles(std::string model_dir)
    : dir_(std::move(model_dir)),
      config_(read_if_there(inside(dir_, kConfig))),
      map_(read_if_there(inside(dir_, "special_tokens_map.json"))),
      added_(read_if_there(inside(dir_, "added_tokens.json"))),
      model_(read_if_there(inside(dir_, "config.json"))) {}

SidecarFiles::SidecarFiles(std::string source, json config)
    : dir_(std::move(source)),
      in_memory_(true),
      config_(std::make_shared<const json>(std::move(config))),
      map_(std::make_shared<const json>(json::object())),
      added_(map_),
      model_(map_) {}

JsonView SidecarFiles::view(const std::shared_ptr<const json>& file, const char* name) const {
  return {*file, in_memory_ ? dir_ : inside(dir_, name)};
}

JsonView SidecarFiles::config() const { return view(config_, kConfig); }
JsonView SidecarFiles::map() const { return view(map_, "special_tokens_map.json"); }
JsonView SidecarFiles::added() const { return view(added_, "added_tokens.json"); }
JsonView SidecarFiles::model() const { return view(model_, "config.json"); }

std::vector<std::string> SidecarFiles::config_keys() const {
  std::vector<std::string> keys;
  if (config_->empty()) return keys;
  if (in_memory_) {
    for (const auto& [key, value] : config_->items()) keys.push_back(key);
    return keys;
  }
  const auto watch = [&keys](int depth, json::parse_event_t event, const json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) keys.push_back(parsed.get<std::string>());
    return event != json::parse_event_t::key;  // values are not kept
  };
  const json discarded = json::parse(read_file(inside(dir_, kConfig)), watch);
  return keys;
}

std::string SidecarFiles::tokenizer_class() const {
  std::string name;
  for (const JsonView& file : {config(), model()}) {
    if (name.empty() && file.has("tokenizer_class")) name = file.text("tokenizer_class");
  }
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

std::string SidecarFiles::model_type() const {
  std::string type = model().has("model_type") ? model().text("model_type") : "";
  return type.starts_with(kOwnType) ? type.substr(kOwnType.size()) : type;
}

bool SidecarFiles::own_class() const {
  static constexpr std::array kOwn = {"BaichuanTokenizer", "ChatGLMTokenizer"};
  const std::string name = tokenizer_class();
  if (std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end()) return true;
  if (!config().has("auto_map")) return false;
  const JsonView auto_map = config().at("auto_map");
  return auto_map.raw().is_array() || (auto_map.raw().is_object() && auto_map.has("AutoTokenizer"));
}

std::optional<bool> SidecarFiles::flag(const char* key) const {
  if (!config().has(key)) return std::nullopt;
  return config().flag(key, false);
}

std::optional<int64_t> SidecarFiles::model_id(const char* key, int64_t limit) const {
  const auto found = model_->find(c10::str(key, "_id"));
  if (found == model_->end()) return std::nullopt;
  // Several end-of-text ids may be listed; the first is the tokenizer's.
  const json& value = found->is_array() && !found->empty() ? found->front() : *found;
  if (!value.is_number_integer()) return std::nullopt;
  const auto id = value.get<int64_t>();
  PRUNUS_CHECK(id >= 0 && id < limit, Corrupt, model().where(), ": ", key, "_id ", id,
               " is not in the tokenizer's range [0, ", limit, ")");
  return id;
}

SpecialIds template_ids(const JsonView& post_processor, const IdOf& id_of) {
  if (post_processor.is_null()) return {};
  SpecialIds ids = around(post_processor, id_of);
  if (!ids.prefix.empty()) ids.bos = ids.prefix.front();
  if (!ids.suffix.empty()) ids.eos = ids.suffix.front();
  ids.adds_bos = ids.bos.has_value();
  return ids;
}

}  // namespace prunus::text
