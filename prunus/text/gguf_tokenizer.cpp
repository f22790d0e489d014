#include "prunus/text/gguf_tokenizer.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "prunus/text/gguf_tokenizer_json.h"
#include "prunus/text/gguf_vocabulary.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/special_ids.h"
#include "prunus/text/stock_tokens.h"

namespace prunus {
namespace {

using nlohmann::json;
using text::GgufVocabulary;

json generation_config(const GgufVocabulary& vocabulary) {
  json config = json::object();
  if (vocabulary.bos) config["bos_token_id"] = *vocabulary.bos;
  const std::vector<int64_t> ends = text::end_ids(vocabulary);
  if (ends.size() == 1) config["eos_token_id"] = ends.front();
  if (ends.size() > 1) config["eos_token_id"] = ends;
  if (vocabulary.pad) config["pad_token_id"] = *vocabulary.pad;
  return config;
}

// All but tokenizer.json.
std::vector<CompanionFile> small_files(const GgufVocabulary& vocabulary) {
  std::vector<CompanionFile> files = {
      {"tokenizer_config.json", text::gguf_tokenizer_config(vocabulary).dump(2) + "\n"},
      {"generation_config.json", generation_config(vocabulary).dump(2) + "\n"}};
  const auto& templates = vocabulary.chat_templates;
  if (templates.size() == 1 && templates.contains("default")) {
    files.push_back({"chat_template.jinja", templates.at("default")});
  }
  return files;
}

}  // namespace

std::unique_ptr<Tokenizer> text::make_gguf_tokenizer(const GgufVocabulary& vocabulary,
                                                     const std::string& where) {
  const json document = gguf_tokenizer_json(vocabulary);
  const SidecarFiles beside(where, gguf_tokenizer_config(vocabulary));
  return std::make_unique<JsonTokenizer>(JsonView(document, where), beside,
                                         StockTokens(beside, nullptr));
}

text::SidecarFiles text::gguf_sidecar_files(const std::string& path) {
  const auto file = GgufFile::open(path);
  const GgufVocabulary vocabulary = read_gguf_vocabulary(file->metadata(), path);
  json config = gguf_tokenizer_config(vocabulary);
  const auto chat = vocabulary.chat_templates.find("default");
  if (!config.contains("chat_template") && chat != vocabulary.chat_templates.end()) {
    config["chat_template"] = chat->second;
  }
  return {path, std::move(config)};
}

std::vector<CompanionFile> gguf_tokenizer_files(const GgufFile& file) {
  const GgufVocabulary vocabulary = text::read_gguf_vocabulary(file.metadata(), file.path());
  const json document = text::gguf_tokenizer_json(vocabulary);
  std::vector<CompanionFile> files = small_files(vocabulary);
  files.insert(files.begin(), {"tokenizer.json", document.dump(1) + "\n"});
  return files;
}

std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& path) {
  const auto file = GgufFile::open(path);
  return text::make_gguf_tokenizer(text::read_gguf_vocabulary(file->metadata(), path), path);
}

}  // namespace prunus
