#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "prunus/model/config.h"
#include "prunus/model/config_fields.h"

namespace prunus {

// The parts of parse_config(): each reads its fields, and throws as that does.

// Far above any published model, low enough that products of two or three fit in 64 bits.
inline constexpr int64_t kMaxSize = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxPositions = int64_t{1} << 40;

/// A size under one of the alternative names "a|b".
int64_t size_at(ConfigFields& fields, std::string_view keys, int64_t high,
                std::optional<int64_t> fallback = std::nullopt);

bool switch_of(ConfigFields& fields, const Switch& rule);

/// Sizes, windows and experts of every layer; hidden_size and what belongs to all layers is in, and
/// comes into, `config`.
std::vector<LayerShape> layers_of(ConfigFields& fields, const Family& family, ModelConfig& config);

/// Rotary embedding of the whole model and, where the family has one, of the windowed layers; gives
/// the share of a head's channels that are rotated.
double read_ropes(ConfigFields& fields, const Family& family, ModelConfig& config);

}  // namespace prunus
