#include "prunus/text/gguf_vocabulary.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <string_view>

#include "prunus/base/error.h"
#include "prunus/text/gguf_pre_tokenizers.h"
#include "prunus/text/string_map.h"
#include "prunus/text/token_model.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

using Kind = GgufVocabulary::Kind;
using Type = GgufTokenType;

class Reader {
 public:
  Reader(const GgufMetadata& metadata, const std::string& where)
      : metadata_(metadata), where_(where) {}

  const GgufValue* find(const std::string& key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : &found->second;
  }
  std::string place(const std::string& key) const { return where_ + ": " + key; }

  std::string utf8(const std::string& key, std::string_view text) const {
    const auto bad = first_invalid_utf8(text);
    PRUNUS_CHECK(!bad, Corrupt, place(key), ": is not valid UTF-8 at byte ", *bad);
    return std::string(text);
  }
  std::string text(const std::string& key, std::string_view otherwise) const {
    const GgufValue* value = find(key);
    return value == nullptr ? std::string(otherwise) : utf8(key, value->text());
  }
  bool flag(const std::string& key, bool otherwise) const {
    const GgufValue* value = find(key);
    return value == nullptr ? otherwise : value->boolean();
  }
  /// An id, or `otherwise` where the file has none and the vocabulary goes so far.
  std::optional<int64_t> id(const std::string& key, size_t tokens,
                            std::optional<int64_t> otherwise = {}) const {
    const GgufValue* value = find(key);
    const auto limit = static_cast<int64_t>(tokens);
    if (value == nullptr) return otherwise && *otherwise < limit ? otherwise : std::nullopt;
    const int64_t id = value->integer();
    PRUNUS_CHECK(id >= 0 && id < limit, Corrupt, place(key), ": id ", id, " is out of range [0, ",
                 limit, ")");
    return id;
  }
  void check_length(const std::string& key, uint64_t count, size_t tokens) const {
    PRUNUS_CHECK(count == tokens, Corrupt, place(key), ": has ", count, " values, expected ",
                 tokens, ", one for each token");
  }

 private:
  const GgufMetadata& metadata_;
  const std::string& where_;
};

constexpr size_t kMaxTokenBytes = 2048;
constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr const char* kCharsMap = "tokenizer.ggml.precompiled_charsmap";
constexpr const char* kTemplate = "tokenizer.chat_template";

Kind read_kind(const Reader& reader) {
  const std::string name = reader.text("tokenizer.ggml.model", "");
  PRUNUS_CHECK(!name.empty() && name != "none" && name != "no_vocab", NotFound,
               reader.place("tokenizer.ggml.model"),
               ": the file has no tokenizer; take it from the model's original directory");
  if (name == "llama") return Kind::SentencePiece;
  if (name == "gpt2") return Kind::ByteLevel;
  PRUNUS_CHECK(name == "t5", Unsupported, reader.place("tokenizer.ggml.model"), ": '", name,
               "' is not supported (only llama, gpt2 and t5)");
  return Kind::Unigram;
}

std::vector<std::string> read_tokens(const Reader& reader) {
  const GgufValue* value = reader.find(kTokens);
  PRUNUS_CHECK(value != nullptr, NotFound, reader.place(kTokens), ": is missing");
  PRUNUS_CHECK(value->count() > 0 && value->count() <= uint64_t{kMaxTokenId} + 1, Corrupt,
               reader.place(kTokens), ": has ", value->count(), " tokens, expected 1 to ",
               kMaxTokenId + 1);
  std::vector<std::string> tokens;
  tokens.reserve(value->count());
  StringMap<size_t> known;
  known.reserve(value->count());
  for (const std::string_view text : value->texts()) {
    const size_t id = tokens.size();
    PRUNUS_CHECK(!first_invalid_utf8(text), Corrupt, reader.place(kTokens), ": token ", id,
                 " is not valid UTF-8");
    PRUNUS_CHECK(text.size() <= kMaxTokenBytes, Corrupt, reader.place(kTokens), ": token ", id,
                 " has ", text.size(), " bytes, expected at most ", kMaxTokenBytes);
    tokens.push_back(text.empty() ? c10::str("[EMPTY_", id, "]") : std::string(text));
    const auto [first, is_new] = known.emplace(tokens.back(), id);
    PRUNUS_CHECK(is_new, Corrupt, reader.place(kTokens), ": tokens ", first->second, " and ", id,
                 " are both '", tokens.back(), "'");
  }
  return tokens;
}

std::vector<Type> read_types(const Reader& reader, size_t tokens) {
  const GgufValue* value = reader.find(kTypes);
  if (value == nullptr) return std::vector<Type>(tokens, Type::Normal);
  reader.check_length(kTypes, value->count(), tokens);
  std::vector<Type> types;
  types.reserve(tokens);
  for (const int64_t number : value->integers()) {
    PRUNUS_CHECK(number >= 0 && number <= static_cast<int64_t>(Type::Byte), Corrupt,
                 reader.place(kTypes), ": token ", types.size(), " has type ", number,
                 ", expected 0 to 6");
    types.push_back(static_cast<Type>(number));
  }
  return types;
}

std::vector<double> read_scores(const Reader& reader, size_t tokens) {
  const GgufValue* value = reader.find(kScores);
  PRUNUS_CHECK(value != nullptr, Corrupt, reader.place(kScores),
               ": is missing, but the order in which pieces are joined is that of the scores");
  reader.check_length(kScores, value->count(), tokens);
  std::vector<double> scores = value->numbers();
  const auto bad =
      std::find_if_not(scores.begin(), scores.end(), [](double x) { return std::isfinite(x); });
  PRUNUS_CHECK(bad == scores.end(), Corrupt, reader.place(kScores), ": score of token ",
               bad - scores.begin(), " is not finite");
  return scores;
}

std::vector<std::pair<std::string, std::string>> read_merges(const Reader& reader) {
  const GgufValue* value = reader.find(kMerges);
  PRUNUS_CHECK(value != nullptr, Corrupt, reader.place(kMerges),
               ": is missing, but a byte-level vocabulary is nothing without it");
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(value->count());
  for (const std::string_view line : value->texts()) {
    PRUNUS_CHECK(!first_invalid_utf8(line), Corrupt, reader.place(kMerges), ": merge ",
                 merges.size(), " is not valid UTF-8");
    const size_t space = line.find(' ', 1);
    PRUNUS_CHECK(
        space != line.npos && space + 1 < line.size() && line.find(' ', space + 1) == line.npos,
        Corrupt, reader.place(kMerges), ": merge ", merges.size(), " is '", line,
        "', expected two tokens with a space between them");
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

std::string read_charsmap(const Reader& reader) {
  const GgufValue* value = reader.find(kCharsMap);
  if (value == nullptr) return {};
  const bool bytes = value->type() == GgufValueType::U8 || value->type() == GgufValueType::I8;
  PRUNUS_CHECK(bytes && value->is_array(), Corrupt, reader.place(kCharsMap),
               ": expected an array of uint8");
  const auto raw = value->bytes();
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

void read_special(const Reader& reader, GgufVocabulary& vocabulary) {
  const size_t tokens = vocabulary.tokens.size();
  const auto id = [&](const char* name, std::optional<int64_t> otherwise = {}) {
    return reader.id(c10::str("tokenizer.ggml.", name, "_token_id"), tokens, otherwise);
  };
  const bool pieces = vocabulary.kind == Kind::SentencePiece;
  const bool unigram = vocabulary.kind == Kind::Unigram;
  using Default = std::optional<int64_t>;
  vocabulary.bos = id("bos", pieces ? Default(1) : Default());
  vocabulary.eos = id("eos", pieces ? Default(2) : unigram ? Default(1) : Default());
  vocabulary.unk = id("unknown", pieces ? Default(0) : unigram ? Default(2) : Default());
  vocabulary.pad = id("padding", unigram ? Default(0) : Default());
  vocabulary.sep = id("seperator");  // as the format spells it
  vocabulary.mask = id("mask");
  vocabulary.eot = id("eot");
  vocabulary.eom = id("eom");
}

void read_rules(const Reader& reader, GgufVocabulary& vocabulary) {
  const bool pieces = vocabulary.kind == Kind::SentencePiece;
  const bool unigram = vocabulary.kind == Kind::Unigram;
  bool bos = pieces;
  vocabulary.pre = reader.text("tokenizer.ggml.pre", "default");
  if (vocabulary.kind == Kind::ByteLevel) {
    const GgufPreTokenizer* pre = find_gguf_pre_tokenizer(vocabulary.pre);
    PRUNUS_CHECK(pre != nullptr, Unsupported, reader.place("tokenizer.ggml.pre"), ": '",
                 vocabulary.pre, "' is not supported; these are: ", gguf_pre_tokenizer_names(),
                 ". The tokenizer of the model's original directory may be used instead");
    bos = pre->adds_bos;
  }
  vocabulary.adds_bos = reader.flag("tokenizer.ggml.add_bos_token", bos) && vocabulary.bos;
  vocabulary.adds_eos = reader.flag("tokenizer.ggml.add_eos_token", unigram) && vocabulary.eos;
  vocabulary.adds_space =
      reader.flag("tokenizer.ggml.add_space_prefix", true) && vocabulary.kind != Kind::ByteLevel;
  vocabulary.removes_spaces =
      reader.flag("tokenizer.ggml.remove_extra_whitespaces", false) && unigram;
}

void read_chat_templates(const Reader& reader, GgufVocabulary& vocabulary) {
  constexpr const char* kNames = "tokenizer.chat_templates";
  if (const GgufValue* value = reader.find(kTemplate)) {
    vocabulary.chat_templates["default"] = reader.utf8(kTemplate, value->text());
  }
  const GgufValue* names = reader.find(kNames);
  if (names == nullptr) return;
  for (const std::string_view name : names->texts()) {
    const std::string key = c10::str(kTemplate, ".", reader.utf8(kNames, name));
    const GgufValue* value = reader.find(key);
    PRUNUS_CHECK(value != nullptr, Corrupt, reader.place(key), ": is missing, but listed in ",
                 kNames);
    vocabulary.chat_templates.emplace(name, reader.utf8(key, value->text()));
  }
}

// llama.cpp goes by the model's name, since the format has no such attribute of a token.
bool strips_behind(const Reader& reader) {
  std::string name = reader.text("general.name", "");
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find("phi-3") != name.npos || name.find("phi3") != name.npos;
}

int64_t context_length(const Reader& reader) {
  const std::string key = reader.text("general.architecture", "") + ".context_length";
  const GgufValue* value = reader.find(key);
  return value == nullptr ? 0 : value->integer();
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufMetadata& metadata, const std::string& where) {
  const Reader reader(metadata, where);
  GgufVocabulary vocabulary{.kind = read_kind(reader)};
  vocabulary.tokens = read_tokens(reader);
  const size_t tokens = vocabulary.tokens.size();
  vocabulary.types = read_types(reader, tokens);
  read_special(reader, vocabulary);
  read_rules(reader, vocabulary);
  if (vocabulary.kind == Kind::ByteLevel) {
    vocabulary.merges = read_merges(reader);
  } else {
    vocabulary.scores = read_scores(reader, tokens);
  }
  if (vocabulary.kind == Kind::Unigram) vocabulary.charsmap = read_charsmap(reader);
  read_chat_templates(reader, vocabulary);
  vocabulary.strips_behind = strips_behind(reader);
  vocabulary.context_length = context_length(reader);
  return vocabulary;
}

std::vector<int64_t> end_ids(const GgufVocabulary& vocabulary) {
  static constexpr std::array<std::string_view, 15> kEnds = {"<|eot_id|>",
                                                             "<|im_end|>",
                                                             "<|end|>",
                                                             "<end_of_turn>",
                                                             "<|endoftext|>",
                                                             "</s>",
                                                             "<|eom_id|>",
                                                             "<EOT>",
                                                             "_<EOT>",
                                                             "[EOT]",
                                                             "<|end_of_text|>",
                                                             "<end_of_utterance>",
                                                             "<eos>",
                                                             "<｜end▁of▁sentence｜>",
                                                             "[e~["};
  std::vector<int64_t> ids;
  const auto add = [&](std::optional<int64_t> id) {
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  };
  for (const auto& id : {vocabulary.eos, vocabulary.eot, vocabulary.eom}) add(id);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const bool known = std::find(kEnds.begin(), kEnds.end(), vocabulary.tokens[id]) != kEnds.end();
    if (known && vocabulary.types[id] == Type::Control) add(static_cast<int64_t>(id));
  }
  return ids;
}

}  // namespace prunus::text
