#include "prunus/text/tokenizer_writer.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/string_map.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

constexpr std::array kSpecial = {"<unk>", "<s>", "</s>"};  // by id

Json flags_of_special() {
  return {{"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", true}};
}

Json added_tokens() {
  Json list = Json::array();
  for (size_t id = 0; id < kSpecial.size(); ++id) {
    Json token = {{"id", id}, {"content", kSpecial[id]}};
    token.update(flags_of_special());
    list.push_back(std::move(token));
  }
  return list;
}

Json replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

// A space is put in front of a text and every space shown as a mark.
Json normalizer() {
  const Json prepend = {{"type", "Prepend"}, {"prepend", kSpaceMark}};
  return {{"type", "Sequence"}, {"normalizers", Json::array({prepend, replace(" ", kSpaceMark)})}};
}

// Undoes the normalizer and joins bytes to characters.
Json decoder() {
  const Json strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
  return {{"type", "Sequence"},
          {"decoders",
           Json::array(
               {replace(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, strip})}};
}

// <s> in front of each text.
Json post_processor() {
  const auto bos = [](int type) {
    return Json{{"SpecialToken", {{"id", "<s>"}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  const Json token = {{"id", "<s>"}, {"ids", Json::array({1})}, {"tokens", Json::array({"<s>"})}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({bos(0), text("A", 0)})},
          {"pair", Json::array({bos(0), text("A", 0), bos(1), text("B", 1)})},
          {"special_tokens", {{"<s>", token}}}};
}

Json vocabulary(const std::vector<std::string>& pieces) {
  Json::object_t vocab;
  vocab.reserve(pieces.size());
  // Past the object's own insertion, which looks for the key among all that stand there.
  for (size_t id = 0; id < pieces.size(); ++id) vocab.Container::emplace_back(pieces[id], id);
  return vocab;
}

Json model(const std::vector<std::string>& pieces) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", "<unk>"},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", true},
          {"ignore_merges", false},
          {"vocab", vocabulary(pieces)},
          {"merges", merges_of(pieces)}};
}

Json tokenizer_json(const std::vector<std::string>& pieces) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens()},
          {"normalizer", normalizer()},
          {"pre_tokenizer", nullptr},
          {"post_processor", post_processor()},
          {"decoder", decoder()},
          {"model", model(pieces)}};
}

Json tokenizer_config(int64_t model_max_length) {
  Json special = Json::object();
  for (size_t id = 0; id < kSpecial.size(); ++id) {
    Json token = {{"content", kSpecial[id]}};
    token.update(flags_of_special());
    special[std::to_string(id)] = std::move(token);
  }
  return {{"add_bos_token", true},
          {"add_eos_token", false},
          {"added_tokens_decoder", special},
          {"bos_token", "<s>"},
          {"clean_up_tokenization_spaces", false},
          {"eos_token", "</s>"},
          {"model_max_length", model_max_length},
          {"pad_token", nullptr},
          {"sp_model_kwargs", Json::object()},
          {"tokenizer_class", "PreTrainedTokenizerFast"},
          {"unk_token", "<unk>"}};
}

Json special_tokens_map() {
  return {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
}

}  // namespace

std::vector<std::string> merges_of(const std::vector<std::string>& pieces) {
  StringMap<size_t> ids;
  for (size_t id = kFixedPieces; id < pieces.size(); ++id) ids.emplace(pieces[id], id);
  std::vector<std::string> merges;
  for (size_t id = kFixedPieces; id < pieces.size(); ++id) {
    const std::string_view piece = pieces[id];
    std::vector<std::pair<size_t, size_t>> splits;
    for (size_t at = code_point_at(piece, 0).bytes; at < piece.size();
         at += code_point_at(piece, at).bytes) {
      const auto left = ids.find(piece.substr(0, at));
      const auto right = ids.find(piece.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      splits.emplace_back(left->second, right->second);
    }
    std::sort(splits.begin(), splits.end());
    for (const auto& [left, right] : splits) merges.push_back(pieces[left] + " " + pieces[right]);
  }
  return merges;
}

void write_fast_tokenizer(const std::vector<std::string>& pieces, int64_t model_max_length,
                          const std::string& dir) {
  const auto write = [&dir](const char* name, const Json& document) {
    write_file(dir + "/" + name, document.dump(2) + "\n");
  };
  write("tokenizer.json", tokenizer_json(pieces));
  write("tokenizer_config.json", tokenizer_config(model_max_length));
  write("special_tokens_map.json", special_tokens_map());
}

}  // namespace prunus::text
