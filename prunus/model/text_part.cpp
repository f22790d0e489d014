#include "prunus/model/text_part.h"

#include <algorithm>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/family.h"
#include "prunus/model/stock_fields.h"

namespace prunus {
namespace {

// Source: transformers 5.24, models/*/configuration_*.py; flat files: those that 4.45 wrote.
constexpr Multimodal kMultimodal[] = {
    {.model_type = "gemma3", .text_type = "gemma3_text"},
    {.model_type = "idefics3", .text_type = "llama"},
    {.model_type = "internvl", .text_type = "qwen2"},
    {.model_type = "llava", .text_type = "llama"},
    {.model_type = "llava_next", .text_type = "llama"},
    {.model_type = "llava_onevision", .text_type = "qwen2"},
    {.model_type = "mistral3", .text_type = "mistral"},
    {.model_type = "qwen2_5_vl",
     .text_type = "qwen2_5_vl_text",
     .flat = true,
     .stock_text_class = false},
    {.model_type = "qwen2_vl",
     .text_type = "qwen2_vl_text",
     .flat = true,
     .stock_text_class = false},
    {.model_type = "qwen3_vl", .text_type = "qwen3_vl_text", .stock_text_class = false},
    {.model_type = "smolvlm", .text_type = "llama"},
};

// Types of language models that compute, on text alone, what a family of ours does.
constexpr std::pair<std::string_view, std::string_view> kTextTypes[] = {
    {"qwen2_vl_text", "qwen2"}, {"qwen2_5_vl_text", "qwen2"}, {"qwen3_vl_text", "qwen3"}};

// Of a configuration with the language model's fields at the top: those that are not its.
constexpr const char* kOuterKeys[] = {
    "image_token_id",      "text_config",           "video_token_id",  "vision_config",
    "vision_end_token_id", "vision_start_token_id", "vision_token_id", "architectures"};

// What the language model takes from outside where its own configuration does not say it.
constexpr const char* kInherited[] = {"torch_dtype",          "dtype",        "bos_token_id",
                                      "eos_token_id",         "pad_token_id", "quantization_config",
                                      "transformers_version", "use_cache"};

// Where tensors of the language model lie, and their names in it alone. The first that fits counts.
constexpr std::pair<std::string_view, std::string_view> kTextNames[] = {
    {"language_model.model.", "model."},
    {"language_model.lm_head.", "lm_head."},
    {"model.language_model.", "model."},
    {"model.text_model.", "model."},
};

// The other parts. Their names are those of transformers 4 and 5.
constexpr std::string_view kOtherParts[] = {
    "image_newline",       "model.connector.",
    "model.image_newline", "model.multi_modal_projector.",
    "model.vision_model.", "model.vision_tower.",
    "model.visual.",       "multi_modal_projector.",
    "vision_tower.",       "visual.",
};

bool has(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

std::string text_at(const Json& object, const std::string& key) {
  return has(object, key) && object.at(key).is_string() ? object.at(key).get<std::string>() : "";
}

// Where the fields of the language model stand, without what is not its.
Json inner_config(const Json& config, const Multimodal& outer, const std::string& where) {
  const bool nested = has(config, "text_config");
  PRUNUS_CHECK(nested || outer.flat, Corrupt, where, ": 'text_config' is missing, which holds the ",
               "language model of a ", outer.model_type, " model");
  if (nested) {
    PRUNUS_CHECK(config.at("text_config").is_object(), Corrupt, where, ": 'text_config' is ",
                 config.at("text_config").type_name(), ", expected an object");
    return config.at("text_config");
  }
  Json inner = config;
  for (const char* key : kOuterKeys) inner.erase(key);
  inner["model_type"] = outer.text_type;
  return inner;
}

// The family of the language model.
const Family& family_of_text(const std::string& type, const Multimodal& outer,
                             const std::string& where) {
  const auto* renamed = std::find_if(std::begin(kTextTypes), std::end(kTextTypes),
                                     [&](const auto& one) { return one.first == type; });
  const Family* family = find_family(renamed == std::end(kTextTypes) ? type : renamed->second);
  PRUNUS_CHECK(family != nullptr, Unsupported, where, ": the language model of this ",
               outer.model_type, " model is of type '", type, "', which is not supported");
  return *family;
}

std::vector<std::string> names_of_sizes(const Family& family) {
  const ConfigKeys& keys = family.keys;
  std::vector<std::string> names;
  for (const std::string_view key : {keys.vocab_size, keys.hidden_size, keys.ffn, keys.layers,
                                     keys.heads, keys.kv_heads, keys.eps}) {
    if (!key.empty()) names.emplace_back(key.substr(0, key.find('|')));
  }
  return names;
}

// Sizes that the file leaves to the class. A null is a value: num_key_value_heads has one.
void write_sizes(Json& text, const Family& family, const Multimodal& outer,
                 const std::string& where) {
  const Json* stock = stock_fields(family.model_type);
  for (const std::string& key : names_of_sizes(family)) {
    if (text.contains(key)) continue;
    PRUNUS_CHECK(outer.stock_text_class, Corrupt, where, ": '", key, "' of the language model is ",
                 "missing");
    if (stock == nullptr || !stock->contains(key)) continue;
    const Json& standard = stock->at(key).at(0);
    if (!standard.is_null()) text[key] = standard;
  }
}

void drop_image_sections(Json& rope) {
  if (!rope.is_object() || !rope.contains("mrope_section")) return;
  rope.erase("mrope_section");
  rope.erase("mrope_interleaved");
  for (const char* key : {"type", "rope_type"}) {
    if (text_at(rope, key) == "mrope") rope[key] = "default";
  }
}

// Tokens of text have one position, so that the sections of a rotary embedding for images all turn
// alike.
void write_rope(Json& text) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!has(text, key)) continue;
    Json& rope = text[key];
    drop_image_sections(rope);
    const std::string type =
        text_at(rope, "rope_type").empty() ? text_at(rope, "type") : text_at(rope, "rope_type");
    const bool plain = rope.is_object() && type == "default" && !rope.contains("rope_theta");
    if (plain) rope = nullptr;
  }
}

bool starts_with_one_of(std::string_view name, std::span<const std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](std::string_view start) { return name.starts_with(start); });
}

}  // namespace

std::span<const Multimodal> multimodal_families() { return kMultimodal; }

std::optional<TextPart> text_part(const Json& config, const std::string& where) {
  const std::string type = config.is_object() ? text_at(config, "model_type") : "";
  const auto* outer = std::find_if(std::begin(kMultimodal), std::end(kMultimodal),
                                   [&](const Multimodal& one) { return one.model_type == type; });
  if (outer == std::end(kMultimodal)) return std::nullopt;
  Json inner = inner_config(config, *outer, where);
  std::string inner_type = text_at(inner, "model_type");
  if (inner_type.empty()) inner_type = outer->text_type;
  const Family& family = family_of_text(inner_type, *outer, where);
  Json text = {{"architectures", {family.architecture}}, {"model_type", family.model_type}};
  for (const auto& [key, value] : inner.items()) {
    if (key != "architectures" && key != "model_type") text[key] = value;
  }
  write_sizes(text, family, *outer, where);
  write_rope(text);
  for (const char* key : kInherited) {
    if (has(config, key) && !has(text, key)) text[key] = config.at(key);
  }
  const std::string tied(family.tied.key);
  if (!tied.empty() && has(config, tied)) text[tied] = config.at(tied);
  return TextPart{std::make_shared<const Json>(std::move(text)), outer};
}

std::string text_tensor_name(std::string_view name) {
  for (const auto& [inside, alone] : kTextNames) {
    if (name.starts_with(inside))
      return std::string(alone) + std::string(name.substr(inside.size()));
  }
  return starts_with_one_of(name, kOtherParts) ? std::string() : std::string(name);
}

}  // namespace prunus
