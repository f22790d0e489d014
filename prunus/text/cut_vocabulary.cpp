#include "prunus/text/cut_vocabulary.h"

#include <charconv>
#include <filesystem>
#include <fnmatch.h>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/io/hf_directory.h"
#include "prunus/text/json_view.h"
#include "prunus/text/named_token_ids.h"
#include "prunus/text/sentencepiece_pieces.h"
#include "prunus/text/string_map.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr uint64_t kMaxSettingsBytes = uint64_t{1} << 28;
constexpr uint64_t kMaxMergesBytes = uint64_t{1} << 28;

constexpr uint64_t kMaxPiecesBytes = uint64_t{1} << 28;
constexpr const char* kPieces = "tokenizer.model";

// Vocabularies of forms that are not rewritten, but for tokenizer.model where it can be.
constexpr const char* kOtherForms[] = {
    "tokenizer.model", "tokenizer.model.v*",      "tekken.json", "vocab.txt",
    "spiece.model",    "sentencepiece.bpe.model", "*.tiktoken"};

// Whether a token stays, by its text.
class KeptTexts {
 public:
  KeptTexts(const json& vocab, const TokenNumbers& numbers) {
    for (const auto& [token, id] : vocab.items()) {
      if (numbers.of(id.get<int64_t>()) >= 0) kept_.emplace(token, true);
    }
  }
  bool merge(std::string_view left, std::string_view right) const {
    return kept_.contains(left) && kept_.contains(right) &&
           kept_.contains(std::string(left).append(right));
  }
  bool merge(std::string_view line) const {
    const size_t space = line.find(' ');
    return space != line.npos && merge(line.substr(0, space), line.substr(space + 1));
  }

 private:
  text::StringMap<bool> kept_;
};

// {"token": id, …}
json cut_vocab(const json& vocab, const TokenNumbers& numbers) {
  json kept = json::object();
  for (const auto& [token, id] : vocab.items()) {
    const int64_t number = numbers.of(id.get<int64_t>());
    if (number >= 0) kept[token] = number;
  }
  return kept;
}

void cut_bpe(json& model, const TokenNumbers& numbers) {
  const KeptTexts kept(model.at("vocab"), numbers);
  json merges = json::array();
  for (json& merge : model.at("merges")) {
    const bool stays = merge.is_string()
                           ? merge.get_ref<const std::string&>().starts_with("#version") ||
                                 kept.merge(merge.get_ref<const std::string&>())
                           : kept.merge(merge.at(0).get_ref<const std::string&>(),
                                        merge.at(1).get_ref<const std::string&>());
    if (stays) merges.push_back(std::move(merge));
  }
  model["merges"] = std::move(merges);
  model["vocab"] = cut_vocab(model.at("vocab"), numbers);
}

// [["piece", score], …]
void cut_unigram(json& model, const TokenNumbers& numbers) {
  json kept = json::array();
  int64_t id = 0;
  for (json& piece : model.at("vocab")) {
    if (numbers.of(id++) >= 0) kept.push_back(std::move(piece));
  }
  model["vocab"] = std::move(kept);
  if (model.contains("unk_id") && model["unk_id"].is_number_integer()) {
    model["unk_id"] = numbers.of(model["unk_id"].get<int64_t>());
  }
}

void renumber(json& id, const TokenNumbers& numbers) { id = numbers.of(id.get<int64_t>()); }

// What a post_processor puts around a text.
void renumber_around(json& part, const TokenNumbers& numbers) {
  if (!part.is_object()) return;
  if (part.contains("processors")) {
    for (json& one : part["processors"]) renumber_around(one, numbers);
  }
  if (part.contains("special_tokens")) {
    for (auto& [name, token] : part["special_tokens"].items()) {
      for (json& id : token.at("ids")) renumber(id, numbers);
    }
  }
  for (const char* key : {"cls", "sep"}) {
    if (part.contains(key)) renumber(part[key].at(1), numbers);
  }
}

void cut_tokenizer_json(const std::string& path, const TokenNumbers& numbers) {
  json document = text::read_large_json(path);
  json& model = document.at("model");
  model.at("vocab").is_array() ? cut_unigram(model, numbers) : cut_bpe(model, numbers);
  if (document.contains("added_tokens")) {
    for (json& token : document["added_tokens"]) renumber(token.at("id"), numbers);
  }
  if (document.contains("post_processor")) renumber_around(document["post_processor"], numbers);
  const bool pads = document.contains("padding") && document["padding"].is_object();
  if (pads && document["padding"].contains("pad_id")) {
    renumber(document["padding"]["pad_id"], numbers);
  }
  write_file(path, document.dump(1) + "\n");
}

void cut_vocab_json(const std::string& path, const TokenNumbers& numbers) {
  write_file(path, cut_vocab(text::read_large_json(path), numbers).dump() + "\n");
}

// `vocab`: of the model, before it was cut.
void cut_merges_txt(const std::string& path, const json& vocab, const TokenNumbers& numbers) {
  const KeptTexts kept(vocab, numbers);
  const std::string content = read_file(path, kMaxMergesBytes);
  std::string left;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || kept.merge(line)) left.append(line).append("\n");
  }
  write_file(path, left);
}

int64_t number_of(const std::string& text, const std::string& where) {
  int64_t id = -1;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool good = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && id >= 0;
  PRUNUS_CHECK(good, Corrupt, where, ": added_tokens_decoder: '", text, "' is not a token id");
  return id;
}

Json renumbered_decoder(const Json& decoder, const TokenNumbers& numbers,
                        const std::string& where) {
  Json renumbered = Json::object();
  for (const auto& [id, token] : decoder.items()) {
    const int64_t number = numbers.of(number_of(id, where));
    if (number >= 0) renumbered[std::to_string(number)] = token;
  }
  return renumbered;
}

// Settings that name tokens by their numbers.
void renumber_config(const std::string& path, const TokenNumbers& numbers) {
  Json config = read_json(path, kMaxSettingsBytes);
  text::visit_named_ids(config, path, [&](int64_t& id) { id = numbers.of(id); });
  const bool listed =
      config.contains("added_tokens_decoder") && config["added_tokens_decoder"].is_object();
  if (listed) {
    config["added_tokens_decoder"] =
        renumbered_decoder(config["added_tokens_decoder"], numbers, path);
  }
  write_file(path, config.dump(2) + "\n");
}

void renumber_added(const std::string& path, const TokenNumbers& numbers) {
  Json added = read_json(path, kMaxSettingsBytes);
  for (const auto& [token, id] : added.items()) {
    const int64_t number = numbers.of(id.get<int64_t>());
    id = number;
  }
  write_file(path, added.dump(2) + "\n");
}

// A sentencepiece model whose pieces are the tokens of the same numbers in `vocab`; → whether it
// is one.
bool cut_pieces(const std::string& path, const json& vocab, const TokenNumbers& numbers) {
  const std::string content = read_file(path, kMaxPiecesBytes);
  int64_t id = 0;
  for (const text::Piece& piece : text::read_pieces(content, path)) {
    const auto found = vocab.find(piece.text);
    if (found == vocab.end() || *found != id++) return false;
  }
  write_file(
      path, text::without_pieces(content, path, [&](int64_t one) { return numbers.of(one) >= 0; }));
  return true;
}

// Of a model beside tokenizer.json. Damaged or of another kind (tiktoken under this name) it is
// left out with the others.
bool cut_piece_model(const std::string& dir, const json& vocab, const TokenNumbers& numbers) {
  const std::string path = (fs::path(dir) / kPieces).string();
  if (!fs::exists(path) || !vocab.is_object()) return false;
  try {
    return cut_pieces(path, vocab, numbers);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Corrupt) return false;
    throw;
  }
}

std::vector<std::string> leave_out_other_forms(const std::string& dir, bool with_pieces) {
  std::vector<std::string> names;
  for (const std::string& name : regular_files(dir)) {
    if (with_pieces && name == kPieces) continue;
    for (const char* glob : kOtherForms) {
      if (::fnmatch(glob, name.c_str(), 0) != 0) continue;
      fs::remove(fs::path(dir) / name);
      names.push_back(name);
      break;
    }
  }
  return names;
}

// → whether tokenizer.model was, too.
bool rewrite(const std::string& dir, const TokenNumbers& numbers) {
  const auto path = [&](const char* name) { return (fs::path(dir) / name).string(); };
  const auto there = [&](const char* name) { return fs::exists(path(name)); };
  if (there("merges.txt") && there("vocab.json")) {
    cut_merges_txt(path("merges.txt"), text::read_large_json(path("vocab.json")), numbers);
  }
  if (there("vocab.json")) cut_vocab_json(path("vocab.json"), numbers);
  bool pieces = false;
  if (there("tokenizer.json")) {
    const json document = text::read_large_json(path("tokenizer.json"));
    pieces = cut_piece_model(dir, document.at("model").at("vocab"), numbers);
    cut_tokenizer_json(path("tokenizer.json"), numbers);
  }
  if (there("added_tokens.json")) renumber_added(path("added_tokens.json"), numbers);
  for (const char* name : {"config.json", "generation_config.json", "tokenizer_config.json"}) {
    if (there(name)) renumber_config(path(name), numbers);
  }
  return pieces;
}

}  // namespace

TokenNumbers::TokenNumbers(int64_t rows, const std::vector<int64_t>& keep)
    : numbers_(static_cast<size_t>(rows), -1), kept_(static_cast<int64_t>(keep.size())) {
  for (size_t number = 0; number < keep.size(); ++number) {
    numbers_.at(static_cast<size_t>(keep[number])) = static_cast<int64_t>(number);
  }
}

std::vector<std::string> write_cut_vocabulary(const std::string& source_dir,
                                              const TokenNumbers& numbers,
                                              const std::string& out_dir) {
  copy_companions(source_dir, out_dir);
  write_file(out_dir + "/config.json", read_config(source_dir).dump(2) + "\n");
  try {
    const bool pieces = rewrite(out_dir, numbers);
    return leave_out_other_forms(out_dir, pieces);
  } catch (const json::exception& error) {
    PRUNUS_FAIL(Corrupt, source_dir,
                ": a field of the tokenizer is not of its type: ", error.what());
  } catch (const fs::filesystem_error& error) {
    PRUNUS_FAIL(Io, out_dir, ": cannot remove a file: ", error.what());
  }
}

}  // namespace prunus
