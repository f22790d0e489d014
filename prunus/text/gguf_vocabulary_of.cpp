#include "prunus/text/gguf_vocabulary_of.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/text/base64.h"
#include "prunus/text/chat_format.h"
#include "prunus/text/gguf_pre_tokenizers.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/normalizer.h"
#include "prunus/text/sentencepiece_pieces.h"
#include "prunus/text/stock_tokens.h"
#include "prunus/text/string_map.h"
#include "prunus/text/token_model.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

using nlohmann::json;
using Kind = GgufVocabulary::Kind;
using Type = GgufTokenType;
namespace fs = std::filesystem;

constexpr double kFillScore = -10000;  // of tokens that only fill up the vocabulary
constexpr double kAddedScore = -1000;  // of added tokens; both as llama.cpp's converter has them

// Where a directory's tokenizer goes beyond what llama.cpp has.
[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  PRUNUS_FAIL(Unsupported, where, ": ", what,
              "; llama.cpp has no such tokenizer, so it cannot be written as GGUF");
}

// Makes room for the token, filling holes.
void set_token(GgufVocabulary& vocabulary, int64_t id, std::string token, Type type, double score) {
  PRUNUS_CHECK(id >= 0 && id <= kMaxTokenId, Corrupt, "token '", token, "' has id ", id,
               ", which is out of range [0, ", kMaxTokenId, "]");
  const auto slot = static_cast<size_t>(id);
  for (size_t i = vocabulary.tokens.size(); i <= slot; ++i) {
    vocabulary.tokens.push_back(c10::str("[PAD", i, "]"));
    vocabulary.types.push_back(Type::Unused);
    if (vocabulary.kind != Kind::ByteLevel) vocabulary.scores.push_back(kFillScore);
  }
  vocabulary.tokens[slot] = std::move(token);
  vocabulary.types[slot] = type;
  if (vocabulary.kind != Kind::ByteLevel) vocabulary.scores[slot] = score;
}

// Tokens that files list as ordinary added ones, but that end or begin something.
bool looks_special(std::string_view token) {
  static constexpr std::array<std::string_view, 4> kKnown = {"<pad>", "<mask>", "<2mass>",
                                                             "[@BOS@]"};
  return std::find(kKnown.begin(), kKnown.end(), token) != kKnown.end() ||
         (token.starts_with("<|") && token.ends_with("|>")) ||
         (token.starts_with("<｜") && token.ends_with("｜>")) ||
         (token.starts_with("<unused") && token.ends_with(">"));
}

void set_added(GgufVocabulary& vocabulary, const AddedToken& token) {
  if (token.special || looks_special(token.content)) {
    set_token(vocabulary, token.id, token.content, Type::Control, kAddedScore);
    return;
  }
  // llama.cpp looks for them in the text as it stands, where spaces are no marks.
  const bool marks = vocabulary.kind != Kind::ByteLevel;
  set_token(vocabulary, token.id,
            marks ? replace_all(token.content, kSpaceMark, " ") : token.content, Type::UserDefined,
            kAddedScore);
}

using Ids = StringMap<int64_t>;

std::optional<int64_t> find_id(const Ids& ids, const std::map<std::string, std::string>& named,
                               const std::string& name) {
  const auto token = named.find(name);
  if (token == named.end()) return std::nullopt;
  const auto id = ids.find(token->second);
  return id == ids.end() ? std::nullopt : std::optional(id->second);
}

// What ends a text besides EOS.
void set_more_ends(const std::string& model_dir, GgufVocabulary& vocabulary) {
  const fs::path path = fs::path(model_dir) / "generation_config.json";
  if (!fs::exists(path)) return;
  const json config = read_large_json(path.string());
  if (!config.is_object() || !config.contains("eos_token_id")) return;
  const json& ends = config.at("eos_token_id");
  if (!ends.is_array()) return;
  for (const json& end : ends) {
    const auto limit = static_cast<int64_t>(vocabulary.tokens.size());
    if (!end.is_number_integer() || end.get<int64_t>() < 0 || end.get<int64_t>() >= limit) continue;
    const auto id = end.get<int64_t>();
    if (!vocabulary.eos) vocabulary.eos = id;
    if (id == vocabulary.eos || id == vocabulary.eot) continue;
    if (!vocabulary.eot) {
      vocabulary.eot = id;
    } else if (!vocabulary.eom) {
      vocabulary.eom = id;
    }
  }
}

// `ids`: of tokens as the files spell them.
void set_special(const Tokenizer& tokenizer, const std::map<std::string, std::string>& named,
                 const Ids& ids, GgufVocabulary& vocabulary) {
  vocabulary.bos = tokenizer.bos_id();
  vocabulary.eos = tokenizer.eos_id();
  if (const auto unk = find_id(ids, named, "unk_token")) vocabulary.unk = unk;
  vocabulary.pad = find_id(ids, named, "pad_token");
  vocabulary.sep = find_id(ids, named, "sep_token");
  vocabulary.mask = find_id(ids, named, "mask_token");
  const auto front = tokenizer.prefix_ids();
  const auto& behind = tokenizer.suffix_ids();
  vocabulary.adds_bos = vocabulary.bos && front == std::vector{*vocabulary.bos};
  vocabulary.adds_eos = vocabulary.eos && behind == std::vector{*vocabulary.eos};
}

struct Parts {
  const json& root;
  std::string where;

  json part(const char* key) const { return root.value(key, json()); }
  const json& model() const { return root.at("model"); }
  bool flag(const char* key) const {
    const auto found = model().find(key);
    return found != model().end() && found->is_boolean() && found->get<bool>();
  }
};

// The steps of a normalizer, sequences unrolled.
json unrolled(const json& node, const char* key) {
  json steps = json::array();
  if (!node.is_object()) return steps;
  if (node.value("type", "") != "Sequence") return json::array({node});
  for (const json& each : node.at(key)) {
    for (json& step : unrolled(each, key)) steps.push_back(std::move(step));
  }
  return steps;
}

std::string type_of(const json& part) { return part.value("type", ""); }

void set_vocab(const Parts& parts, GgufVocabulary& vocabulary, Ids& ids) {
  for (const auto& [token, id] : parts.model().at("vocab").items()) {
    set_token(vocabulary, id.get<int64_t>(), token, Type::Normal, 0);
    ids[token] = id.get<int64_t>();
  }
}

std::vector<std::pair<std::string, std::string>> merge_pairs_of(const Parts& parts) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const json& merge : parts.model().at("merges")) {
    if (merge.is_array()) {
      merges.emplace_back(merge[0], merge[1]);
      continue;
    }
    const std::string& line = merge.get_ref<const std::string&>();
    const size_t space = line.find(' ');
    if (!line.starts_with("#version"))
      merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

std::string pre_name(const Parts& parts, bool nfc, bool has_bos, const std::string& wanted) {
  if (!wanted.empty()) {
    PRUNUS_CHECK(find_gguf_pre_tokenizer(wanted) != nullptr, InvalidArgument, "pre '", wanted,
                 "' is not known; these are: ", gguf_pre_tokenizer_names());
    return wanted;
  }
  const json words = parts.part("pre_tokenizer");
  const auto name = gguf_pre_tokenizer_name({.pre_tokenizer = words,
                                             .nfc = nfc,
                                             .ignore_merges = parts.flag("ignore_merges"),
                                             .has_bos = has_bos});
  PRUNUS_CHECK(name, Unsupported, parts.where, ": pre_tokenizer cuts words as none of llama.cpp's ",
               "tokenizers does that Prunus knows. Where you know which of its names stands for ",
               "this tokenizer, give it with --pre: ", gguf_pre_tokenizer_names());
  return *name;
}

void read_byte_level(const Parts& parts, const std::string& pre, bool has_bos,
                     GgufVocabulary& vocabulary, Ids& ids) {
  bool nfc = false;
  for (const json& step : unrolled(parts.part("normalizer"), "normalizers")) {
    if (type_of(step) != "NFC") refuse(parts.where, "normalizer " + type_of(step));
    nfc = true;
  }
  vocabulary.pre = pre_name(parts, nfc, has_bos, pre);
  set_vocab(parts, vocabulary, ids);
  vocabulary.merges = merge_pairs_of(parts);
}

// Whether a space goes in front of a text, where the parts only turn spaces into marks.
bool adds_space(const Parts& parts) {
  bool adds = false;
  for (const json& step : unrolled(parts.part("normalizer"), "normalizers")) {
    const bool prepends = type_of(step) == "Prepend" && step.value("prepend", "") == kSpaceMark;
    const json spaces = {{"String", " "}};
    const bool marks = type_of(step) == "Replace" && step.value("pattern", json()) == spaces &&
                       step.value("content", "") == kSpaceMark;
    if (!prepends && !marks) refuse(parts.where, "normalizer " + type_of(step));
    adds = adds || prepends;
  }
  for (const json& step : unrolled(parts.part("pre_tokenizer"), "pretokenizers")) {
    if (type_of(step) == "Metaspace") {
      const std::string scheme =
          step.value("prepend_scheme", step.value("add_prefix_space", true) ? "always" : "never");
      adds = adds || scheme != "never";
    } else if (type_of(step) != "Split" || step.value("behavior", "") != "MergedWithPrevious") {
      refuse(parts.where, "pre_tokenizer " + type_of(step));  // a Split at spaces finds none
    }
  }
  return adds;
}

// A piece is worth the more the earlier it is first made.
void set_scores_by_merges(const Parts& parts, const Ids& ids, GgufVocabulary& vocabulary) {
  const auto merges = merge_pairs_of(parts);
  std::fill(vocabulary.scores.begin(), vocabulary.scores.end(),
            -static_cast<double>(merges.size()) - 1);
  for (size_t rank = merges.size(); rank-- > 0;) {
    const auto found = ids.find(merges[rank].first + merges[rank].second);
    if (found == ids.end()) continue;
    vocabulary.scores[static_cast<size_t>(found->second)] = -static_cast<double>(rank);
  }
}

void read_sentencepiece_bpe(const Parts& parts, GgufVocabulary& vocabulary, Ids& ids) {
  if (parts.flag("ignore_merges")) refuse(parts.where, "model.ignore_merges");
  vocabulary.pre = "default";
  vocabulary.adds_space = adds_space(parts);
  set_vocab(parts, vocabulary, ids);
  set_scores_by_merges(parts, ids, vocabulary);
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(byte_token(byte));
    if (found == ids.end() || !parts.flag("byte_fallback")) {
      refuse(parts.where, "a BPE model without " + byte_token(byte) + " for unknown characters");
    }
    vocabulary.types[static_cast<size_t>(found->second)] = Type::Byte;
  }
  const json unk = parts.model().value("unk_token", json());
  if (unk.is_string() && ids.contains(unk.get<std::string>())) vocabulary.unk = ids.at(unk);
}

void read_unigram(const Parts& parts, GgufVocabulary& vocabulary, Ids& ids) {
  if (parts.flag("byte_fallback")) refuse(parts.where, "a Unigram model that spells bytes");
  vocabulary.pre = "default";
  for (const json& step : unrolled(parts.part("normalizer"), "normalizers")) {
    const std::string type = type_of(step);
    const json several = {{"Regex", " {2,}"}};
    if (type == "Precompiled") {
      vocabulary.charsmap = decode_base64(step.value("precompiled_charsmap", ""), parts.where);
    } else if (type == "Strip" || (type == "Replace" && step.value("pattern", json()) == several)) {
      vocabulary.removes_spaces = true;
    } else {
      refuse(parts.where, "normalizer " + type + " before a Unigram model");
    }
  }
  for (const json& step : unrolled(parts.part("pre_tokenizer"), "pretokenizers")) {
    if (type_of(step) != "Metaspace") refuse(parts.where, "pre_tokenizer " + type_of(step));
    vocabulary.adds_space = step.value("prepend_scheme", "always") != "never";
  }
  int64_t id = 0;
  for (const json& entry : parts.model().at("vocab")) {
    ids[entry[0]] = id;
    set_token(vocabulary, id++, entry[0], Type::Normal, entry[1].get<double>());
  }
  const json unk = parts.model().value("unk_id", json());
  if (unk.is_number_integer()) {
    vocabulary.unk = unk.get<int64_t>();
    vocabulary.types[static_cast<size_t>(*vocabulary.unk)] = Type::Unknown;
  }
}

Kind kind_of(const Parts& parts, const JsonTokenizer& tokenizer) {
  if (tokenizer.kind() == "byte-level-bpe") return Kind::ByteLevel;
  if (tokenizer.kind() == "bpe") return Kind::SentencePiece;
  PRUNUS_CHECK(tokenizer.kind() == "unigram", Unsupported, parts.where, ": a tokenizer of kind ",
               tokenizer.kind(), " cannot be written as GGUF");
  return Kind::Unigram;
}

GgufVocabulary of_json(const std::string& dir, const JsonTokenizerFile& file,
                       const std::string& pre) {
  const Parts parts{*file.document, (fs::path(dir) / "tokenizer.json").string()};
  GgufVocabulary vocabulary{.kind = kind_of(parts, *file.tokenizer)};
  Ids ids;
  switch (vocabulary.kind) {
    case Kind::ByteLevel:
      read_byte_level(parts, pre, file.tokenizer->bos_id().has_value(), vocabulary, ids);
      break;
    case Kind::SentencePiece:
      read_sentencepiece_bpe(parts, vocabulary, ids);
      break;
    case Kind::Unigram:
      read_unigram(parts, vocabulary, ids);
      break;
  }
  for (const AddedToken& token : file.tokenizer->added_tokens()) {
    ids[token.content] = token.id;
    set_added(vocabulary, token);
  }
  set_special(*file.tokenizer, file.named, ids, vocabulary);
  return vocabulary;
}

Type type_of_piece(const Piece& piece) {
  const bool known = piece.type >= Piece::Normal && piece.type <= Piece::Byte;
  return known ? static_cast<Type>(piece.type) : Type::Normal;
}

GgufVocabulary of_pieces(const std::string& dir) {
  const std::string path = (fs::path(dir) / "tokenizer.model").string();
  const PieceModel model = read_piece_model(read_file(path, uint64_t{1} << 28), path);
  const SidecarFiles files(dir);
  if (files.tokenizer_class() == "ChatGLMTokenizer") refuse(dir, "ChatGLM's command tokens");
  if (model.words_or_characters) refuse(path, "a sentencepiece model of words or characters");
  GgufVocabulary vocabulary{.kind = model.unigram ? Kind::Unigram : Kind::SentencePiece};
  vocabulary.pre = "default";
  vocabulary.adds_space = model.adds_space;
  Ids ids;
  for (const Piece& piece : model.pieces) {
    const auto id = static_cast<int64_t>(ids.size());
    const Type type = type_of_piece(piece);
    if (model.unigram && type == Type::Byte) refuse(path, "a Unigram model that spells bytes");
    if (type == Type::Unknown) vocabulary.unk = id;
    set_token(vocabulary, id, piece.text, type, piece.score);
    PRUNUS_CHECK(ids.emplace(piece.text, id).second, Corrupt, path, ": piece '", piece.text,
                 "' is given twice");
  }
  if (model.unigram) {
    vocabulary.charsmap = model.charsmap;
    vocabulary.removes_spaces = model.removes_spaces;
  }
  const StockTokens tokens(files, nullptr);
  for (AddedToken token : tokens.to_add({})) {
    if (token.id < 0) {
      const auto known = ids.find(token.content);
      token.id =
          known == ids.end() ? static_cast<int64_t>(vocabulary.tokens.size()) : known->second;
    }
    ids[token.content] = token.id;
    set_added(vocabulary, token);
  }
  set_special(*load_tokenizer(dir), tokens.contents(), ids, vocabulary);
  return vocabulary;
}

}  // namespace

GgufVocabulary gguf_vocabulary_of(const std::string& model_dir, const std::string& pre) {
  const auto file = read_json_tokenizer(model_dir);
  if (!file) load_tokenizer(model_dir);  // says what is missing
  try {
    GgufVocabulary vocabulary = file ? of_json(model_dir, *file, pre) : of_pieces(model_dir);
    set_more_ends(model_dir, vocabulary);
    vocabulary.chat_templates = chat_template_texts(model_dir);
    return vocabulary;
  } catch (const json::exception& error) {
    PRUNUS_FAIL(Corrupt, model_dir,
                ": a field of the tokenizer is not of its type: ", error.what());
  }
}

}  // namespace prunus::text
