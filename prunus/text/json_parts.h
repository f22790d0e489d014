#pragma once
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace prunus::text {

// The parts that a tokenizer.json is put together from.

/// What Qwen2, and many after it, call a word.
inline constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

nlohmann::json byte_level_part(bool add_prefix_space, bool use_regex);

/// Cuts out every match of a regular expression.
nlohmann::json split_part(std::string_view regex);

/// `key`: "normalizers", "pretokenizers", "decoders" or "processors".
nlohmann::json sequence_part(const char* key, nlohmann::json parts);

nlohmann::json replace_part(std::string_view from, std::string_view to);

/// Undoes what sentencepiece writes: U+2581 for a space, bytes as <0x0A>; `strips`: the space
/// that was put in front.
nlohmann::json marks_decoder_part(bool strips);

/// A text with the tokens `front` before and `behind` after it; {"id": …, "content": …} each.
nlohmann::json template_part(const std::vector<nlohmann::json>& front,
                             const std::vector<nlohmann::json>& behind);

}  // namespace prunus::text
