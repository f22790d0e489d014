#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/model/config.h"
#include "prunus/model/config_fields.h"

namespace prunus {

// The parts of parse_config(): each reads its fields, and throws as that does. Those of
// rewrite_config() that it shares knowledge with.

// Far above any published model, low enough that products of two or three fit in 64 bits.
inline constexpr int64_t kMaxSize = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxPositions = int64_t{1} << 40;

/// A size under one of the alternative names "a|b". Throws Corrupt where two of them disagree.
int64_t size_at(ConfigFields& fields, std::string_view keys, int64_t high,
                std::optional<int64_t> fallback = std::nullopt);

bool switch_of(ConfigFields& fields, const Switch& rule);

/// Judges what nobody asked for as the stock class of the family would: a field that it does not
/// read is passed over (noted in `fields`); one that it reads must have the stock default. Without
/// a stock class nothing says that a field is harmless. Throws Unsupported.
void judge_unknown(ConfigFields& fields, const Family& family);
/// The same for rotary parameters, an object `name` inside `fields`.
void judge_unknown_rope(ConfigFields& fields, const ConfigFields& rope, const std::string& name,
                        const Family& family);

/// One warning that names what was passed over; once a run for the same fields, since a file is
/// opened several times, and so is what was made of it.
void warn_of_passed_over(const ModelConfig& config, const std::string& where);

/// Sizes, windows and experts of every layer; hidden_size and what belongs to all layers is in, and
/// comes into, `config`.
std::vector<LayerShape> layers_of(ConfigFields& fields, const Family& family, ModelConfig& config);

/// Rotary embedding of the whole model and, where the family has one, of the windowed layers; gives
/// the share of a head's channels that are rotated: 1 where the stock class knows no other.
double read_ropes(ConfigFields& fields, const Family& family, ModelConfig& config);

/// The biases of projections: what the family's switches turn on, or what the list of projections
/// under kBiasesKey says.
std::set<Role> read_biases(ConfigFields& fields, const Family& family);

/// In a config.json whose type begins with kOwnTypePrefix: the projections that have a bias.
inline constexpr const char* kBiasesKey = "prunus_biases";

/// "o_proj, down_proj": the projections whose biases the family's switches cannot say; empty where
/// they can say all.
std::string biases_beyond_switches(const ModelConfig& config);

/// Sets the family's switches where they can say which biases there are, and kBiasesKey where not.
void write_biases(Json& json, const ModelConfig& config);

}  // namespace prunus
