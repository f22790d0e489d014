#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "prunus/base/json.h"

namespace prunus {

/// A family of multimodal models whose language model is one of a family of ours, as data.
struct Multimodal {
  std::string_view model_type;  ///< of config.json: "gemma3"
  /// `model_type` that text_config has where it names none.
  std::string_view text_type;
  /// Where the language model's fields may stand: in text_config, or (older files) at the top.
  bool flat = false;
  /// The configuration class of the text part is that of the text family; where it is not, its
  /// defaults are others, so that sizes must be in the file.
  bool stock_text_class = true;
};

/// The language model inside a multimodal one.
struct TextPart {
  /// config.json of the language model as a model of its own.
  const Json& config() const { return *json; }
  std::shared_ptr<const Json> json;
  const Multimodal* multimodal = nullptr;
};

/// Every multimodal family that is known.
std::span<const Multimodal> multimodal_families();

/// What config.json says of the language model, where its `model_type` is that of a multimodal
/// family; nothing where it is not. Sizes that text_config leaves to its stock class are written
/// out; whether the head is tied is as the outer configuration says, else the inner one;
/// quantization_config, dtype and special ids come from outside where the inside has none; rotary
/// sections of images ("mrope") are left out, since all three positions of a text token are one.
/// Throws Corrupt: text_config is missing or lacks a size; Unsupported: its type has no family.
/// `where` names the file in messages.
std::optional<TextPart> text_part(const Json& config, const std::string& where);

/// The name that a tensor of a multimodal checkpoint has in the language model alone
/// ("language_model.model.norm.weight" → "model.norm.weight"); empty for one of another part (image
/// encoder, projector); `name` itself for any other.
std::string text_tensor_name(std::string_view name);

}  // namespace prunus
