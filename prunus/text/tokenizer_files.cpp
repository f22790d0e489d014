// Loading a JsonTokenizer from either set of files it may come in.
#include <algorithm>
#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/stand_in.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/sentencepiece_pieces.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr uint64_t kMaxMergesBytes = uint64_t{64} << 20;

json read_merges_txt(const std::string& path) {
  const std::string content = read_file(path, kMaxMergesBytes);
  check_no_stand_in(content, path);
  json merges = json::array();
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string line = content.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) merges.push_back(std::move(line));
    at = end + 1;
  }
  return merges;
}

bool has_byte_level(const json& node) {
  if (node.is_array()) return std::any_of(node.begin(), node.end(), has_byte_level);
  if (!node.is_object()) return false;
  const auto type = node.find("type");
  if (type != node.end() && type->is_string() && *type == "ByteLevel") return true;
  return std::any_of(node.begin(), node.end(), has_byte_level);
}

// Every part that may hold one; not the vocabulary, which is large.
bool has_byte_level_part(const json& document) {
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    if (document.contains(key) && has_byte_level(document.at(key))) return true;
  }
  return false;
}

json template_of(const std::vector<std::string>& front, const std::vector<std::string>& behind) {
  json single = json::array();
  for (const auto& token : front)
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const auto& token : behind)
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
  return {{"type", "TemplateProcessing"}, {"single", std::move(single)}};
}

// The post-processor as the class makes it; `by_file`: a tokenizer.json is there, whose
// post-processor counts and which turns the flags off.
json post_processor(const json& document, const SidecarFiles& files, const StockTokens& tokens,
                    StockClass::Around rule, bool by_file) {
  const auto wrap = [&](const char* front, const char* behind, bool first, bool last) {
    std::vector<std::string> before;
    std::vector<std::string> after;
    if (first && tokens.content(front)) before.push_back(*tokens.content(front));
    if (last && tokens.content(behind)) after.push_back(*tokens.content(behind));
    return template_of(before, after);
  };
  if (rule == StockClass::Around::ClassAndSep) return wrap("cls_token", "sep_token", true, true);
  if (rule == StockClass::Around::File && by_file) return document.value("post_processor", json());
  const bool otherwise = rule == StockClass::Around::Bos;
  const bool bos = by_file ? otherwise : files.flag("add_bos_token").value_or(otherwise);
  const bool eos = !by_file && files.flag("add_eos_token").value_or(false);
  return wrap("bos_token", "eos_token", bos, eos);
}

// Gives the root of a tokenizer.json the parts of a class.
void apply(const StockClass& stock, const SidecarFiles& files, json& document) {
  json parts = stock.parts(files);
  json& model = document["model"];
  for (const auto& [key, value] : parts["model"].items()) model[key] = value;
  if (model["unk_token"].is_string() && !model["vocab"].contains(model["unk_token"])) {
    model["unk_token"] = nullptr;
  }
  for (const char* key : {"normalizer", "pre_tokenizer", "decoder"}) document[key] = parts[key];
}

// Every split of a piece into two pieces, in order of the piece's id, the shortest left part first.
json merges_of_pieces(const std::vector<Piece>& pieces) {
  StringMap<size_t> known;
  for (const Piece& piece : pieces) known.emplace(piece.text, known.size());
  json merges = json::array();
  for (const Piece& piece : pieces) {
    const std::string_view text = piece.text;
    for (size_t at = 0; at < text.size();) {
      at += code_point_at(text, at).bytes;
      if (at == text.size()) break;
      const std::string_view left = text.substr(0, at);
      const std::string_view right = text.substr(at);
      if (known.contains(left) && known.contains(right)) merges.push_back({left, right});
    }
  }
  return merges;
}

std::vector<AddedToken> added_of_pieces(const std::vector<Piece>& pieces) {
  std::vector<AddedToken> tokens;
  for (const Piece& piece : pieces) {
    if (piece.type != Piece::Control && piece.type != Piece::UserDefined) continue;
    AddedToken token{.id = -1, .content = piece.text};
    token.special = piece.type == Piece::Control;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// A tokenizer.json and what the class that stock software picks for it makes of it.
struct Loaded {
  std::string path;
  json document;
  SidecarFiles files;
  const StockClass* stock;
};

Loaded read_as_stock(const std::string& model_dir) {
  const std::string path = (fs::path(model_dir) / "tokenizer.json").string();
  Loaded loaded{path, read_large_json(path), SidecarFiles(model_dir), nullptr};
  json& document = loaded.document;
  loaded.stock = stock_class(loaded.files, has_byte_level_part(document));
  if (loaded.stock == nullptr) return loaded;
  const JsonView model = JsonView(document, path).at("model");
  PRUNUS_CHECK(model.has("type") && model.text("type") == "BPE", Unsupported, model.where(),
               ": is not BPE, but tokenizer_class ", loaded.stock->name, " is");
  PRUNUS_CHECK(model.at("vocab").raw().is_object(), Corrupt, model.where(),
               ".vocab: expected an object from tokens to ids");
  apply(*loaded.stock, loaded.files, document);
  return loaded;
}

JsonTokenizerFile build(Loaded loaded) {
  const StockTokens tokens(loaded.files, loaded.stock);
  if (loaded.stock != nullptr) {
    loaded.document["post_processor"] =
        post_processor(loaded.document, loaded.files, tokens, loaded.stock->around, true);
  }
  auto tokenizer =
      std::make_unique<JsonTokenizer>(JsonView(loaded.document, loaded.path), loaded.files, tokens);
  return {std::make_shared<json>(std::move(loaded.document)), std::move(tokenizer),
          tokens.contents()};
}

// By the file's own parts, as models are trained and measured, whatever class is named: those
// classes of transformers 5 that build their parts anew lose characters on some files
// (docs/tokenizer.md).
JsonTokenizerFile read_tokenizer_json(const std::string& model_dir) {
  const std::string path = (fs::path(model_dir) / "tokenizer.json").string();
  return build({path, read_large_json(path), SidecarFiles(model_dir), nullptr});
}

JsonTokenizerFile read_vocab_and_merges(const std::string& model_dir) {
  static constexpr std::array kGpt2Like = {"", "GPT2Tokenizer", "BartTokenizer", "CodeGenTokenizer",
                                           "PreTrainedTokenizer"};
  const SidecarFiles files(model_dir);
  const std::string name = files.tokenizer_class();
  const StockClass* stock = stock_class(files, true);
  const bool gpt2_like = std::find(kGpt2Like.begin(), kGpt2Like.end(), name) != kGpt2Like.end();
  if (stock == nullptr && gpt2_like) stock = find_stock_class("GPT2Tokenizer");
  PRUNUS_CHECK(stock != nullptr && stock->name != "LlamaTokenizer", Unsupported, model_dir,
               "/tokenizer_config.json: tokenizer_class '", name,
               "' with vocab.json and merges.txt is not supported; save the tokenizer as "
               "tokenizer.json (AutoTokenizer.from_pretrained(...).save_pretrained(...))");
  const fs::path dir(model_dir);
  json document;
  document["model"] = {{"type", "BPE"},
                       {"merges", read_merges_txt((dir / "merges.txt").string())},
                       {"vocab", read_large_json((dir / "vocab.json").string())}};
  apply(*stock, files, document);
  const StockTokens tokens(files, stock);
  document["post_processor"] = post_processor(document, files, tokens, stock->around, false);
  auto tokenizer = std::make_unique<JsonTokenizer>(
      JsonView(document, (dir / "vocab.json").string()), files, tokens);
  return {std::make_shared<json>(std::move(document)), std::move(tokenizer), tokens.contents()};
}

}  // namespace

bool has_byte_level_part(const std::string& model_dir) {
  const fs::path path = fs::path(model_dir) / "tokenizer.json";
  return fs::exists(path) && has_byte_level_part(read_large_json(path.string()));
}

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& model_dir) {
  return read_tokenizer_json(model_dir).tokenizer;
}

std::optional<json> generic_tokenizer_json(const std::string& model_dir) {
  if (!fs::exists(fs::path(model_dir) / "tokenizer.json")) return std::nullopt;
  Loaded loaded = read_as_stock(model_dir);
  if (loaded.stock == nullptr) return std::nullopt;
  JsonTokenizerFile file = build(std::move(loaded));
  json list = json::array();
  for (const AddedToken& token : file.tokenizer->added_tokens()) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  (*file.document)["added_tokens"] = std::move(list);
  return std::move(*file.document);
}

std::unique_ptr<Tokenizer> load_rebuilt_sentencepiece(const std::string& path,
                                                      std::string_view content,
                                                      const SidecarFiles& files,
                                                      const StockClass& stock) {
  if (!stock.parts(files)["model"]["byte_fallback"]) return nullptr;  // words are spelled in bytes
  const std::vector<Piece> pieces = read_pieces(content, path);
  json vocab = json::object();
  for (size_t id = 0; id < pieces.size(); ++id) vocab[pieces[id].text] = id;
  json document;
  document["model"] = {
      {"type", "BPE"}, {"merges", merges_of_pieces(pieces)}, {"vocab", std::move(vocab)}};
  apply(stock, files, document);
  StockTokens tokens(files, &stock);
  tokens.set_extra_of_pieces(added_of_pieces(pieces));
  document["post_processor"] = post_processor(document, files, tokens, stock.around, false);
  return std::make_unique<JsonTokenizer>(JsonView(document, path), files, tokens);
}

std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& model_dir) {
  return read_vocab_and_merges(model_dir).tokenizer;
}

std::optional<JsonTokenizerFile> read_json_tokenizer(const std::string& model_dir) {
  const fs::path dir(model_dir);
  if (fs::exists(dir / "tokenizer.json")) return read_tokenizer_json(model_dir);
  if (fs::exists(dir / "tokenizer.model")) return std::nullopt;
  if (!fs::exists(dir / "vocab.json") || !fs::exists(dir / "merges.txt")) return std::nullopt;
  return read_vocab_and_merges(model_dir);
}

}  // namespace prunus::text
