#include "prunus/text/stock_class.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "prunus/text/json_parts.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

using nlohmann::json;

json model_options(bool spelled_in_bytes) {
  return {{"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", !spelled_in_bytes},
          {"byte_fallback", !spelled_in_bytes},
          {"ignore_merges", false}};
}

json metaspace(const char* scheme) {
  return {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", false}};
}

json llama_parts(const SidecarFiles& files) {
  const bool prefix = files.flag("add_prefix_space").value_or(true);
  const bool legacy = files.flag("legacy").value_or(false);
  return {{"normalizer", nullptr},
          {"pre_tokenizer", metaspace(!prefix  ? "never"
                                      : legacy ? "always"
                                               : "first")},
          {"decoder", marks_decoder_part(prefix)},
          {"model", model_options(false)}};
}

json code_llama_parts(const SidecarFiles& files) {
  const bool prefix = files.flag("add_prefix_space").value_or(true);
  json parts = {{"normalizer", nullptr},
                {"pre_tokenizer", metaspace(prefix ? "first" : "never")},
                {"decoder", marks_decoder_part(true)},
                {"model", model_options(false)}};
  parts["model"]["unk_token"] = "<unk>";
  return parts;
}

json gemma_parts(const SidecarFiles&) {
  json parts = {{"normalizer", replace_part(" ", kSpaceMark)},
                {"pre_tokenizer",
                 {{"type", "Split"},
                  {"pattern", {{"String", " "}}},
                  {"behavior", "MergedWithPrevious"},
                  {"invert", false}}},
                {"decoder", marks_decoder_part(false)},
                {"model", model_options(false)}};
  parts["model"]["unk_token"] = "<unk>";
  return parts;
}

json gpt2_parts(const SidecarFiles& files) {
  const bool prefix = files.flag("add_prefix_space").value_or(false);
  return {{"normalizer", nullptr},
          {"pre_tokenizer", byte_level_part(prefix, true)},
          {"decoder", byte_level_part(false, true)},
          {"model", model_options(true)}};
}

json gpt_neox_parts(const SidecarFiles& files) {
  json parts = gpt2_parts(files);
  parts["normalizer"] = {{"type", "NFC"}};
  return parts;
}

json qwen2_parts(const SidecarFiles& files) {
  json parts = gpt_neox_parts(files);
  const bool prefix = files.flag("add_prefix_space").value_or(false);
  parts["pre_tokenizer"] = sequence_part(
      "pretokenizers", json::array({split_part(kQwen2Words), byte_level_part(prefix, false)}));
  return parts;
}

using Around = StockClass::Around;

const std::vector<StockClass>& classes() {
  static const std::vector<StockClass> all = {
      {.name = "LlamaTokenizer",
       .special = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}},
       .parts = llama_parts},
      {.name = "CodeLlamaTokenizer",
       .special = {{"bos_token", "<s>"},
                   {"eos_token", "</s>"},
                   {"unk_token", "<unk>"},
                   {"prefix_token", "▁<PRE>"},
                   {"middle_token", "▁<MID>"},
                   {"suffix_token", "▁<SUF>"},
                   {"eot_token", "▁<EOT>"},
                   {"fill_token", "<FILL_ME>"}},
       .parts = code_llama_parts,
       .around = Around::Bos},
      {.name = "GemmaTokenizer",
       .special = {{"bos_token", "<bos>"},
                   {"eos_token", "<eos>"},
                   {"unk_token", "<unk>"},
                   {"pad_token", "<pad>"},
                   {"mask_token", "<mask>"}},
       .parts = gemma_parts},
      {.name = "GPT2Tokenizer",
       .special = {{"bos_token", "<|endoftext|>"},
                   {"eos_token", "<|endoftext|>"},
                   {"unk_token", "<|endoftext|>"}},
       .parts = gpt2_parts},
      {.name = "Qwen2Tokenizer",
       .special = {{"eos_token", "<|endoftext|>"},
                   {"unk_token", "<|endoftext|>"},
                   {"pad_token", "<|endoftext|>"}},
       .parts = qwen2_parts,
       .adds_special_again = true},
      {.name = "GPTNeoXTokenizer",
       .special = {{"bos_token", "<|endoftext|>"},
                   {"eos_token", "<|endoftext|>"},
                   {"unk_token", "<|endoftext|>"},
                   {"pad_token", "<|padding|>"}},
       .parts = gpt_neox_parts,
       .around = Around::Flags},
      {.name = "RobertaTokenizer",
       .special = {{"bos_token", "<s>"},
                   {"eos_token", "</s>"},
                   {"unk_token", "<unk>"},
                   {"sep_token", "</s>"},
                   {"pad_token", "<pad>"},
                   {"cls_token", "<s>"},
                   {"mask_token", "<mask>"}},
       .parts = gpt2_parts,
       .around = Around::ClassAndSep},
  };
  return all;
}

// What transformers has on record for a model type; "" for the generic class.
struct Registered {
  std::string_view model_type;
  std::string_view name;
  bool overrules = false;  ///< the class that the files name is known to be wrong
};

const Registered* registered(std::string_view model_type) {
  static constexpr std::array kRegistered = {
      Registered{"gemma", "GemmaTokenizer"},
      Registered{"gemma2", "GemmaTokenizer"},
      Registered{"gemma3", "GemmaTokenizer"},
      Registered{"gemma3_text", "GemmaTokenizer"},
      Registered{"glm", ""},
      Registered{"glm4", ""},
      Registered{"gpt2", "GPT2Tokenizer"},
      Registered{"gpt_neox", "GPTNeoXTokenizer"},
      Registered{"internvl", "Qwen2Tokenizer"},
      Registered{"llava", "", true},
      Registered{"llava_next", "", true},
      Registered{"mistral", ""},
      Registered{"mistral3", ""},
      Registered{"mixtral", ""},
      Registered{"olmo2", ""},
      Registered{"opt", "GPT2Tokenizer"},
      Registered{"phi3", "", true},
      Registered{"qwen2", "Qwen2Tokenizer", true},
      Registered{"qwen2_5_vl", "Qwen2Tokenizer"},
      Registered{"qwen2_moe", "Qwen2Tokenizer"},
      Registered{"qwen2_vl", "Qwen2Tokenizer"},
      Registered{"qwen3", "Qwen2Tokenizer"},
      Registered{"qwen3_moe", "Qwen2Tokenizer"},
      Registered{"qwen3_vl", "Qwen2Tokenizer"},
      Registered{"smolvlm", "", true},
  };
  const auto* found =
      std::find_if(kRegistered.begin(), kRegistered.end(),
                   [&](const Registered& type) { return type.model_type == model_type; });
  return found == kRegistered.end() ? nullptr : found;
}

}  // namespace

const StockClass* find_stock_class(std::string_view name) {
  for (const StockClass& each : classes()) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

const StockClass* stock_class(const SidecarFiles& files, bool byte_level) {
  return stock_class_for(files, files.model_type(), byte_level);
}

const StockClass* stock_class_for(const SidecarFiles& files, std::string_view model_type,
                                  bool byte_level) {
  if (files.own_class()) return nullptr;
  const std::string named = files.tokenizer_class();
  const Registered* type = registered(model_type);
  const bool overruled = type != nullptr && type->overrules;
  if (named == "LlamaTokenizer" && byte_level && !overruled) return nullptr;
  if (named.empty()) return type == nullptr ? nullptr : find_stock_class(type->name);
  if (type == nullptr || type->name == named) return find_stock_class(named);
  if (type->name.empty()) return nullptr;
  return find_stock_class(overruled ? type->name : std::string_view(named));
}

}  // namespace prunus::text
