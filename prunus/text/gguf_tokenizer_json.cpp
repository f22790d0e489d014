#include "prunus/text/gguf_tokenizer_json.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/base64.h"
#include "prunus/text/gguf_pre_tokenizers.h"
#include "prunus/text/json_parts.h"
#include "prunus/text/string_map.h"
#include "prunus/text/token_model.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

using nlohmann::json;
using Kind = GgufVocabulary::Kind;
using Type = GgufTokenType;

// How many tokens there are without those at the end that only fill up the vocabulary.
size_t used_tokens(const GgufVocabulary& vocabulary) {
  size_t count = vocabulary.tokens.size();
  while (count > 1 && vocabulary.types[count - 1] == Type::Unused &&
         vocabulary.tokens[count - 1] == c10::str("[PAD", count - 1, "]")) {
    --count;
  }
  return count;
}

bool is_added(const GgufVocabulary& vocabulary, size_t id) {
  const Type type = vocabulary.types[id];
  const bool unknown = type == Type::Unknown;
  return type == Type::Control || type == Type::UserDefined || unknown;
}

// As llama.cpp has it for Phi-3.
bool strips_behind(const GgufVocabulary& vocabulary, const std::string& token) {
  return vocabulary.strips_behind && token != "<unk>" && token != "<s>" && token != "<|endoftext|>";
}

json added_token(const GgufVocabulary& vocabulary, size_t id) {
  const std::string& content = vocabulary.tokens[id];
  return {{"content", content},  {"single_word", false},
          {"lstrip", false},     {"rstrip", strips_behind(vocabulary, content)},
          {"normalized", false}, {"special", vocabulary.types[id] != Type::UserDefined}};
}

json added_tokens(const GgufVocabulary& vocabulary) {
  json list = json::array();
  for (size_t id = 0; id < used_tokens(vocabulary); ++id) {
    if (!is_added(vocabulary, id)) continue;
    json token = added_token(vocabulary, id);
    token["id"] = id;
    list.push_back(std::move(token));
  }
  return list;
}

json token_of(const GgufVocabulary& vocabulary, int64_t id) {
  const auto slot = static_cast<size_t>(id);
  return {{"id", slot}, {"content", vocabulary.tokens[slot]}};
}

json post_processor(const GgufVocabulary& vocabulary) {
  std::vector<json> front;
  std::vector<json> behind;
  if (vocabulary.adds_bos) front.push_back(token_of(vocabulary, *vocabulary.bos));
  if (vocabulary.adds_eos) behind.push_back(token_of(vocabulary, *vocabulary.eos));
  return template_part(front, behind);
}

json vocab_of(const GgufVocabulary& vocabulary) {
  json vocab = json::object();
  for (size_t id = 0; id < used_tokens(vocabulary); ++id) vocab[vocabulary.tokens[id]] = id;
  return vocab;
}

json bpe_model(json vocab, json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

// Splits of pieces, in the order in which they are to be tried.
json merges_by_score(const GgufVocabulary& vocabulary) {
  const auto joins = [&](size_t id) {
    const Type type = vocabulary.types[id];
    return type == Type::Normal || type == Type::Undefined || type == Type::Unused;
  };
  StringMap<size_t> pieces;
  for (size_t id = 0; id < used_tokens(vocabulary); ++id) {
    if (joins(id)) pieces.emplace(vocabulary.tokens[id], id);
  }
  struct Split {
    double score;
    size_t left_characters, right_characters, id, left_bytes;
  };
  std::vector<Split> splits;
  for (size_t id = 0; id < used_tokens(vocabulary); ++id) {
    if (!joins(id)) continue;
    const std::string_view piece = vocabulary.tokens[id];
    std::vector<size_t> ends;
    for (size_t at = 0; at < piece.size();) ends.push_back(at += code_point_at(piece, at).bytes);
    for (size_t i = 0; i + 1 < ends.size(); ++i) {
      if (!pieces.contains(piece.substr(0, ends[i])) || !pieces.contains(piece.substr(ends[i]))) {
        continue;
      }
      splits.push_back({vocabulary.scores[id], i + 1, ends.size() - i - 1, id, ends[i]});
    }
  }
  std::stable_sort(splits.begin(), splits.end(), [](const Split& a, const Split& b) {
    return std::tie(a.score, a.left_characters, a.right_characters) >
           std::tie(b.score, b.left_characters, b.right_characters);
  });
  json merges = json::array();
  for (const Split& split : splits) {
    const std::string& piece = vocabulary.tokens[split.id];
    const std::string left = piece.substr(0, split.left_bytes);
    const std::string right = piece.substr(split.left_bytes);
    if (piece.find(' ') == piece.npos) merges.push_back(left + " " + right);
  }
  return merges;
}

void add_sentencepiece(const GgufVocabulary& vocabulary, json& document) {
  json replace = replace_part(" ", kSpaceMark);
  document["normalizer"] =
      vocabulary.adds_space
          ? sequence_part("normalizers",
                          json::array({{{"type", "Prepend"}, {"prepend", kSpaceMark}}, replace}))
          : std::move(replace);
  document["pre_tokenizer"] = nullptr;
  document["decoder"] = marks_decoder_part(vocabulary.adds_space);
  json model = bpe_model(vocab_of(vocabulary), merges_by_score(vocabulary));
  if (vocabulary.unk) model["unk_token"] = token_of(vocabulary, *vocabulary.unk)["content"];
  model["fuse_unk"] = true;
  model["byte_fallback"] = true;
  document["model"] = std::move(model);
}

void add_byte_level(const GgufVocabulary& vocabulary, json& document) {
  const GgufPreTokenizer* pre = find_gguf_pre_tokenizer(vocabulary.pre);
  TORCH_INTERNAL_ASSERT(pre != nullptr, "checked when the vocabulary was read");
  document["normalizer"] = pre->nfc ? json{{"type", "NFC"}} : json();
  document["pre_tokenizer"] = pre->part();
  document["decoder"] = byte_level_part(false, true);
  json merges = json::array();
  for (const auto& [left, right] : vocabulary.merges) merges.push_back(left + " " + right);
  document["model"] = bpe_model(vocab_of(vocabulary), std::move(merges));
  document["model"]["ignore_merges"] = pre->ignore_merges;
}

void add_unigram(const GgufVocabulary& vocabulary, json& document) {
  json steps = json::array();
  if (!vocabulary.charsmap.empty()) {
    steps.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(vocabulary.charsmap)}});
  }
  if (vocabulary.removes_spaces) {
    steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
  }
  document["normalizer"] = sequence_part("normalizers", std::move(steps));
  const json mark = {{"type", "Metaspace"},
                     {"replacement", kSpaceMark},
                     {"prepend_scheme", vocabulary.adds_space ? "always" : "never"},
                     {"split", true}};
  document["pre_tokenizer"] = mark;
  document["decoder"] = mark;
  json pieces = json::array();
  for (size_t id = 0; id < used_tokens(vocabulary); ++id) {
    pieces.push_back({vocabulary.tokens[id], vocabulary.scores[id]});
  }
  document["model"] = {{"type", "Unigram"}, {"vocab", std::move(pieces)}, {"byte_fallback", false}};
  if (vocabulary.unk) document["model"]["unk_id"] = *vocabulary.unk;
}

}  // namespace

json gguf_tokenizer_json(const GgufVocabulary& vocabulary) {
  json document = {{"version", "1.0"},
                   {"truncation", nullptr},
                   {"padding", nullptr},
                   {"added_tokens", added_tokens(vocabulary)},
                   {"post_processor", post_processor(vocabulary)}};
  switch (vocabulary.kind) {
    case Kind::SentencePiece:
      add_sentencepiece(vocabulary, document);
      break;
    case Kind::ByteLevel:
      add_byte_level(vocabulary, document);
      break;
    case Kind::Unigram:
      add_unigram(vocabulary, document);
      break;
  }
  return document;
}

json gguf_tokenizer_config(const GgufVocabulary& vocabulary) {
  json decoder = json::object();
  for (size_t id = 0; id < used_tokens(vocabulary); ++id) {
    if (is_added(vocabulary, id)) decoder[std::to_string(id)] = added_token(vocabulary, id);
  }
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", vocabulary.adds_bos},
                 {"add_eos_token", vocabulary.adds_eos},
                 {"added_tokens_decoder", std::move(decoder)}};
  if (vocabulary.context_length > 0) config["model_max_length"] = vocabulary.context_length;
  const std::pair<const char*, std::optional<int64_t>> named[] = {
      {"bos_token", vocabulary.bos}, {"eos_token", vocabulary.eos},
      {"unk_token", vocabulary.unk}, {"pad_token", vocabulary.pad},
      {"sep_token", vocabulary.sep}, {"mask_token", vocabulary.mask}};
  for (const auto& [name, id] : named) {
    config[name] = id ? token_of(vocabulary, *id)["content"] : json();
  }
  const auto& templates = vocabulary.chat_templates;
  if (templates.empty() || (templates.size() == 1 && templates.contains("default"))) return config;
  config["chat_template"] = json::array();
  for (const auto& [name, text] : templates) {
    config["chat_template"].push_back({{"name", name}, {"template", text}});
  }
  return config;
}

}  // namespace prunus::text
