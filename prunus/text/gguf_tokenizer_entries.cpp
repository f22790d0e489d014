#include "prunus/text/gguf_tokenizer_entries.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "prunus/base/error.h"
#include "prunus/io/gguf.h"
#include "prunus/text/cut_vocabulary.h"
#include "prunus/text/gguf_vocabulary.h"
#include "prunus/text/gguf_vocabulary_of.h"
#include "prunus/text/string_map.h"

namespace prunus {
namespace {

using text::GgufTokenType;
using text::GgufVocabulary;
using Kind = GgufVocabulary::Kind;

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr float kFillScore = -10000;

const char* model_name(Kind kind) {
  if (kind == Kind::SentencePiece) return "llama";
  return kind == Kind::ByteLevel ? "gpt2" : "t5";
}

void check_size(size_t tokens, int64_t vocab_size, const std::string& where) {
  PRUNUS_CHECK(vocab_size == 0 || static_cast<int64_t>(tokens) <= vocab_size, InvalidArgument,
               where, ": the tokenizer has ", tokens, " tokens, but the embedding ", vocab_size,
               " rows; llama.cpp wants one for each");
}

// Tokens nobody uses, up to as many as the embedding has rows.
template <typename Value, typename Make>
void fill(std::vector<Value>& values, int64_t vocab_size, const Make& make) {
  while (static_cast<int64_t>(values.size()) < vocab_size) values.push_back(make(values.size()));
}

std::string fill_token(size_t id) { return c10::str("[PAD", id, "]"); }

// llama.cpp stops where two tokens have one text.
void check_distinct(const std::vector<std::string>& tokens, const std::string& where) {
  text::StringMap<size_t> known;
  known.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto [first, is_new] = known.emplace(tokens[id], id);
    PRUNUS_CHECK(is_new, Unsupported, where, ": tokens ", first->second, " and ", id,
                 " would both be '", tokens[id], "' in a GGUF file, which llama.cpp refuses");
  }
}

void add_lists(const GgufVocabulary& vocabulary, int64_t vocab_size, const std::string& where,
               std::vector<GgufEntry>& entries) {
  auto tokens = vocabulary.tokens;
  std::vector<int32_t> types;
  for (const GgufTokenType type : vocabulary.types) types.push_back(static_cast<int32_t>(type));
  std::vector<float> scores;
  for (const double score : vocabulary.scores) scores.push_back(static_cast<float>(score));
  fill(tokens, vocab_size, fill_token);
  fill(types, vocab_size, [](size_t) { return static_cast<int32_t>(GgufTokenType::Unused); });
  check_distinct(tokens, where);
  entries.push_back(GgufEntry::texts(kTokens, tokens));
  if (vocabulary.kind != Kind::ByteLevel) {
    fill(scores, vocab_size, [](size_t) { return kFillScore; });
    entries.push_back(GgufEntry::float32s(kScores, scores));
  }
  entries.push_back(GgufEntry::int32s(kTypes, types));
  if (vocabulary.kind != Kind::ByteLevel) return;
  std::vector<std::string> merges;
  for (const auto& [left, right] : vocabulary.merges) merges.push_back(left + " " + right);
  entries.push_back(GgufEntry::texts(kMerges, merges));
}

void add_charsmap(const GgufVocabulary& vocabulary, std::vector<GgufEntry>& entries) {
  if (vocabulary.charsmap.empty()) return;
  entries.push_back(GgufEntry::uint8s("tokenizer.ggml.precompiled_charsmap", vocabulary.charsmap));
}

void add_special(const GgufVocabulary& vocabulary, std::vector<GgufEntry>& entries) {
  const auto add = [&](const char* name, const std::optional<int64_t>& id) {
    if (!id) return;
    entries.push_back(GgufEntry::uint32(c10::str("tokenizer.ggml.", name, "_token_id"),
                                        static_cast<uint32_t>(*id)));
  };
  add("bos", vocabulary.bos);
  add("eos", vocabulary.eos);
  add("unknown", vocabulary.unk);
  add("seperator", vocabulary.sep);  // as the format spells it
  add("padding", vocabulary.pad);
  add("mask", vocabulary.mask);
  add("eot", vocabulary.eot);
  add("eom", vocabulary.eom);
}

void add_rules(const GgufVocabulary& vocabulary, std::vector<GgufEntry>& entries) {
  const auto add = [&](const char* name, bool value) {
    entries.push_back(GgufEntry::boolean(c10::str("tokenizer.ggml.", name), value));
  };
  add("add_bos_token", vocabulary.adds_bos);
  add("add_eos_token", vocabulary.adds_eos);
  if (vocabulary.kind != Kind::ByteLevel) add("add_space_prefix", vocabulary.adds_space);
  if (vocabulary.kind == Kind::Unigram) add("remove_extra_whitespaces", vocabulary.removes_spaces);
}

void add_templates(const GgufVocabulary& vocabulary, std::vector<GgufEntry>& entries) {
  std::vector<std::string> names;
  for (const auto& [name, source] : vocabulary.chat_templates) {
    if (name == "default") continue;
    names.push_back(name);
    entries.push_back(GgufEntry::text("tokenizer.chat_template." + name, source));
  }
  if (!names.empty()) entries.push_back(GgufEntry::texts("tokenizer.chat_templates", names));
  const auto by_default = vocabulary.chat_templates.find("default");
  if (by_default == vocabulary.chat_templates.end()) return;
  entries.push_back(GgufEntry::text("tokenizer.chat_template", by_default->second));
}

template <typename Value>
void keep_only(std::vector<Value>& values, const std::vector<int64_t>& keep) {
  std::vector<Value> kept;
  for (const int64_t id : keep) {
    if (static_cast<size_t>(id) < values.size()) {
      kept.push_back(std::move(values[static_cast<size_t>(id)]));
    }
  }
  values = std::move(kept);
}

// Without the tokens that go, and the merges that make or need one.
GgufVocabulary cut_to(GgufVocabulary vocabulary, const std::vector<int64_t>& keep) {
  keep_only(vocabulary.tokens, keep);
  keep_only(vocabulary.types, keep);
  keep_only(vocabulary.scores, keep);
  text::StringMap<bool> kept;
  for (const std::string& token : vocabulary.tokens) kept.emplace(token, true);
  std::erase_if(vocabulary.merges, [&](const auto& merge) {
    return !kept.contains(merge.first) || !kept.contains(merge.second) ||
           !kept.contains(merge.first + merge.second);
  });
  return vocabulary;
}

// The entries of a file whose lists are cut, and ids of tokens with their new numbers.
std::vector<GgufEntry> cut_entries(const GgufFile& file, const GgufVocabulary& vocabulary,
                                   const GgufTokenizerOptions& options) {
  const TokenNumbers numbers(static_cast<int64_t>(vocabulary.tokens.size()), options.keep);
  std::vector<GgufEntry> entries;
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("tokenizer.")) continue;
    if (key == kTokens || key == kScores || key == kTypes || key == kMerges) continue;
    if (!key.ends_with("_token_id")) {
      entries.push_back(GgufEntry::copy(key, value));
      continue;
    }
    const int64_t number = numbers.of(value.integer());
    PRUNUS_CHECK(number >= 0, InvalidArgument, file.path(), ": ", key, " is ", value.integer(),
                 ", a token that would be dropped; keep it");
    entries.push_back(GgufEntry::uint32(key, static_cast<uint32_t>(number)));
  }
  add_lists(cut_to(vocabulary, options.keep), options.vocab_size, file.path(), entries);
  return entries;
}

// The lists of a file's own vocabulary, made longer.
std::vector<GgufEntry> copied(const std::string& path, const GgufTokenizerOptions& options) {
  const auto file = GgufFile::open(path);
  const GgufVocabulary vocabulary = text::read_gguf_vocabulary(file->metadata(), path);
  PRUNUS_CHECK(options.pre.empty() || options.pre == vocabulary.pre, InvalidArgument, path,
               ": names its own tokenizer.ggml.pre, '", vocabulary.pre, "', not '", options.pre,
               "'");
  if (!options.keep.empty()) return cut_entries(*file, vocabulary, options);
  check_size(vocabulary.tokens.size(), options.vocab_size, path);
  const bool fills = static_cast<int64_t>(vocabulary.tokens.size()) < options.vocab_size;
  std::vector<GgufEntry> entries;
  for (const auto& [key, value] : file->metadata()) {
    if (!key.starts_with("tokenizer.")) continue;
    if (fills && (key == kTokens || key == kScores || key == kTypes)) continue;
    entries.push_back(GgufEntry::copy(key, value));
  }
  if (!fills) return entries;
  std::vector<GgufEntry> lists;
  add_lists(vocabulary, options.vocab_size, path, lists);
  for (GgufEntry& entry : lists) {
    if (entry.key() != kMerges) entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

std::vector<GgufEntry> gguf_tokenizer_entries(const std::string& model,
                                              const GgufTokenizerOptions& options) {
  if (is_gguf_path(model)) return copied(model, options);
  const GgufVocabulary vocabulary = text::gguf_vocabulary_of(model, options.pre);
  check_size(vocabulary.tokens.size(), options.vocab_size, model);
  std::vector<GgufEntry> entries;
  entries.push_back(GgufEntry::text("tokenizer.ggml.model", model_name(vocabulary.kind)));
  entries.push_back(GgufEntry::text("tokenizer.ggml.pre", vocabulary.pre));
  add_lists(vocabulary, options.vocab_size, model, entries);
  add_charsmap(vocabulary, entries);
  add_special(vocabulary, entries);
  add_rules(vocabulary, entries);
  add_templates(vocabulary, entries);
  return entries;
}

}  // namespace prunus
