#include "prunus/text/gguf_pre_tokenizers.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/text/json_parts.h"

namespace prunus::text {
namespace {

using nlohmann::json;

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr std::string_view kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kQwen35Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kGpt4oWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kBloomWords = R"re( ?[^(\s|[.,!?…。，、।۔،])]+)re";

// Letters of scripts with upper and lower case, as DeepSeek lists them. clang-format measures their
// width otherwise each time it cuts the lines.
// clang-format off
constexpr std::string_view kDeepSeekLetters =
    R"(\s?[)"
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ"
    "Ⴀ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄ"
    "ῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲ"
    "ⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
    "]+";
// clang-format on

constexpr std::string_view kDeepSeek3Words =
    R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

constexpr std::string_view kJais2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";

constexpr std::string_view kBailingWords =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";

constexpr std::string_view kSeedCoderWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kExaoneMoeWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";

constexpr std::string_view kMiniCpm5Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kHan = "[一-龥ࠀ-一가-퟿]+";

// Of equal rules the first that fits is written.
const std::vector<GgufPreTokenizer>& table() {
  static const std::vector<GgufPreTokenizer> all = {
      {.names = {"gpt-2", "phi-2", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion",
                 "granite-docling"},
       .splits = {}},
      {.names = {"olmo", "mpt"}, .splits = {}, .nfc = true},
      {.names = {"smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"},
       .splits = {},
       .digits = true},
      {.names = {"command-r"}, .splits = {}, .digits = true, .nfc = true},
      {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
                 "lfm2", "jina-v5-nano"},
       .splits = {kLlama3Words},
       .ignore_merges = true,
       .adds_bos = true},
      {.names = {"dbrx", "smaug-bpe"}, .splits = {kLlama3Words}},
      {.names = {"chatglm-bpe", "glm4"}, .splits = {kLlama3Words}, .no_bos = true},
      {.names = {"qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2"},
       .splits = {kQwen2Words},
       .nfc = true},
      {.names = {"stablelm2", "hunyuan", "solar-open", "grok-2"}, .splits = {kQwen2Words}},
      {.names = {"qwen35"}, .splits = {kQwen35Words}, .nfc = true},
      {.names = {"tekken"}, .splits = {kTekkenWords}, .ignore_merges = true, .adds_bos = true},
      {.names = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, .splits = {kGpt4oWords}},
      {.names = {"bloom", "gpt3-finnish", "poro-chat"}, .splits = {kBloomWords}},
      {.names = {"viking"}, .splits = {kBloomWords, R"(\p{N})"}},
      {.names = {"falcon"}, .splits = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, kThreeDigits}},
      {.names = {"default"},
       .splits = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", kThreeDigits}},
      {.names = {"deepseek-llm"},
       .splits = {R"([\r\n])", kDeepSeekLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)",
                  kHan, R"(\p{N}+)"}},
      {.names = {"deepseek-coder"},
       .splits = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHan, R"(\p{N})"}},
      {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm"},
       .splits = {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", kDeepSeek3Words}},
      {.names = {"jais-2"}, .splits = {kJais2Words}},
      {.names = {"bailingmoe", "bailingmoe2", "llada-moe"}, .splits = {kBailingWords}},
      {.names = {"seed-coder"}, .splits = {kSeedCoderWords}},
      {.names = {"exaone-moe"}, .splits = {kExaoneMoeWords}},
      {.names = {"minicpm5"}, .splits = {R"(\p{N}{1,3})", kMiniCpm5Words}, .ignore_merges = true},
      {.names = {"laguna"}, .splits = {R"([^\n]+|[\n]+)", kQwen2Words}},
  };
  return all;
}

// The steps of a pre-tokenizer in one spelling, so that two can be compared: sequences unrolled,
// fields that change nothing left out. Nothing where llama.cpp has no such step.
std::optional<json> steps_of(const json& part) {
  json steps = json::array();
  if (!part.is_object()) return std::nullopt;
  const std::string type = part.value("type", "");
  if (type == "Sequence") {
    for (const json& each : part.value("pretokenizers", json::array())) {
      const auto inner = steps_of(each);
      if (!inner) return std::nullopt;
      steps.insert(steps.end(), inner->begin(), inner->end());
    }
  } else if (type == "ByteLevel") {
    if (part.value("add_prefix_space", true)) return std::nullopt;
    if (part.value("use_regex", true)) steps.push_back(kGpt2Pattern);
    steps.push_back("bytes");
  } else if (type == "Digits") {
    if (!part.value("individual_digits", false)) return std::nullopt;
    steps.push_back(R"(\p{N})");
  } else if (type == "Split") {
    const json pattern = part.value("pattern", json::object());
    const bool plain = !pattern.is_object() || !pattern.contains("Regex") ||
                       !pattern["Regex"].is_string() || part.value("invert", false) ||
                       part.value("behavior", "") != "Isolated";
    if (plain) return std::nullopt;
    steps.push_back(pattern["Regex"]);
  } else {
    return std::nullopt;
  }
  return steps;
}

}  // namespace

json GgufPreTokenizer::part() const {
  if (splits.empty() && !digits) return byte_level_part(false, true);
  json parts = json::array();
  if (digits) parts.push_back({{"type", "Digits"}, {"individual_digits", true}});
  for (const std::string_view regex : splits) parts.push_back(split_part(regex));
  parts.push_back(byte_level_part(false, splits.empty()));
  return sequence_part("pretokenizers", std::move(parts));
}

std::span<const GgufPreTokenizer> gguf_pre_tokenizers() { return table(); }

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const GgufPreTokenizer& each : table()) {
    if (std::find(each.names.begin(), each.names.end(), name) != each.names.end()) return &each;
  }
  return nullptr;
}

std::string gguf_pre_tokenizer_names() {
  std::set<std::string_view> names;
  for (const GgufPreTokenizer& each : table()) names.insert(each.names.begin(), each.names.end());
  std::string joined;
  for (const std::string_view name : names) {
    if (!joined.empty()) joined += ", ";
    joined += name;
  }
  return joined;
}

std::optional<std::string> gguf_pre_tokenizer_name(const WordRule& rule) {
  const auto wanted = steps_of(rule.pre_tokenizer);
  if (!wanted) return std::nullopt;
  const GgufPreTokenizer* best = nullptr;
  int best_fit = -1;
  for (const GgufPreTokenizer& each : table()) {
    if (each.ignore_merges != rule.ignore_merges || *steps_of(each.part()) != *wanted) continue;
    const int fit = (each.nfc == rule.nfc ? 2 : 0) + (each.no_bos != rule.has_bos ? 1 : 0);
    if (fit > best_fit) {
      best = &each;
      best_fit = fit;
    }
  }
  if (best == nullptr) return std::nullopt;
  return std::string(best->names.front());
}

}  // namespace prunus::text
