#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/gguf_config_parts.h"

namespace prunus {
namespace {

constexpr std::string_view kWindow = "attention.sliding_window";
constexpr std::string_view kPattern = "attention.sliding_window_pattern";

// Which layers have a window: a period, or one truth value for each layer.
std::vector<bool> windowed_layers(GgufKeys& keys, const Family& family, size_t layers) {
  const GgufValue* value = keys.find(kPattern);
  if (value != nullptr && value->is_array()) {
    std::vector<bool> listed = value->booleans();
    PRUNUS_CHECK(listed.size() == layers, Corrupt, keys.place(kPattern), " holds ", listed.size(),
                 " values, expected one for each of ", layers, " layers");
    return listed;
  }
  const auto period =
      static_cast<size_t>(keys.integer(kPattern, 1, kMaxSize, family.default_window_pattern));
  std::vector<bool> windowed(layers);
  for (size_t i = 0; i < layers; ++i) windowed[i] = (i + 1) % period != 0;
  return windowed;
}

// Gemma 2's graph has a window where its file says nothing, Gemma 3's has none.
int64_t default_window(const Family& family) {
  return family.local_rope_theta_key.empty() ? family.default_sliding_window.value_or(0) : 0;
}

}  // namespace

void read_gguf_windows(GgufKeys& keys, const Family& family, size_t layers, Json& json) {
  if (family.window == WindowRule::All) {
    const int64_t window = keys.integer(kWindow, 0, kMaxPositions, 0);
    json["sliding_window"] = window > 0 ? Json(window) : Json();
  } else if (family.window == WindowRule::Pattern) {
    const int64_t window = keys.integer(kWindow, 0, kMaxPositions, default_window(family));
    const std::vector<bool> windowed = windowed_layers(keys, family, layers);
    Json types = Json::array();
    for (size_t i = 0; i < layers; ++i) {
      types.push_back(window > 0 && windowed[i] ? "sliding_attention" : "full_attention");
    }
    json["sliding_window"] = window > 0 ? Json(window) : Json();
    json["layer_types"] = types;
  } else {
    keys.must_be(kWindow, 0);
  }
}

std::optional<int64_t> gguf_window_period(const ModelConfig& config) {
  const auto layers = static_cast<int64_t>(config.layers.size());
  for (int64_t period = 1; period <= layers + 1; ++period) {
    bool fits = true;
    for (int64_t i = 0; i < layers; ++i) {
      const bool windowed = config.layers[static_cast<size_t>(i)].sliding_window.has_value();
      fits = fits && windowed == ((i + 1) % period != 0);
    }
    if (fits) return period;
  }
  return std::nullopt;
}

void write_gguf_windows(const ModelConfig& config, const GgufArchitecture& architecture,
                        std::vector<GgufSetting>& settings) {
  const Family& family = *config.family;
  const std::string prefix = std::string(architecture.name) + ".";
  int64_t window = 0;
  for (const LayerShape& layer : config.layers) {
    window = std::max(window, layer.sliding_window.value_or(0));
  }
  const bool rule = family.window == WindowRule::All || family.window == WindowRule::Pattern;
  if (!rule || (window == 0 && family.window == WindowRule::All && architecture.windows)) return;
  if (window > 0 || !architecture.windows) {
    settings.push_back({prefix + std::string(kWindow), window});
  }
  if (family.window != WindowRule::Pattern) return;
  const int64_t period = gguf_window_period(config).value_or(family.default_window_pattern);
  if (period != family.default_window_pattern) {
    settings.push_back({prefix + std::string(kPattern), period});
  }
}

}  // namespace prunus
