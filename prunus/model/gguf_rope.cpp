#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/io/quote.h"
#include "prunus/model/config_parts.h"
#include "prunus/model/gguf_config_parts.h"

namespace prunus {
namespace {

constexpr double kClose = 1e-5;  // relative; factors are FP32 numbers that others computed

bool close(double a, double b) { return std::abs(a - b) <= kClose * std::abs(b); }

std::vector<double> factors_of(const GgufFile& file, std::string_view name, int64_t pairs) {
  const GgufTensor* tensor = file.find(name);
  if (tensor == nullptr) return {};
  PRUNUS_CHECK(tensor->shape == std::vector<int64_t>{pairs}, Corrupt, file.path(), ": tensor ",
               quote(name), " has shape ", c10::IntArrayRef(tensor->shape), ", expected [", pairs,
               "], a factor for each rotated pair of channels");
  const at::Tensor values = file.read(*tensor);
  std::vector<double> factors;
  for (int64_t i = 0; i < pairs; ++i) {
    const auto value = static_cast<double>(values.const_data_ptr<float>()[i]);
    PRUNUS_CHECK(std::isfinite(value) && value > 0, Corrupt, file.path(), ": tensor ", quote(name),
                 " holds ", value, ", expected finite factors above 0");
    factors.push_back(shortest(value));
  }
  return factors;
}

double wavelength(double theta, size_t pair, size_t pairs) {
  const double exponent = static_cast<double>(pair) / static_cast<double>(pairs);
  return 2 * std::numbers::pi * std::pow(theta, exponent);
}

// What "llama3" scaling divides the frequency of a wave by.
double llama3_divisor(const Rope& rope, double wave) {
  const double turns = static_cast<double>(rope.original_max_position_embeddings) / wave;
  const double ramp = std::clamp(
      (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
  return 1 / (ramp + (1 - ramp) / rope.factor);
}

// Parameters of Llama 3.1's scaling that give these factors, with the bands that all published
// models have; null where none do. A pair between the bands tells the original length.
Json llama3_of(const std::vector<double>& factors, double theta) {
  Rope rope;
  rope.kind = Rope::Kind::Llama3;
  rope.factor = *std::max_element(factors.begin(), factors.end());
  for (size_t i = 0; i < factors.size() && rope.factor > 1; ++i) {
    if (close(factors[i], 1) || close(factors[i], rope.factor)) continue;
    const double ramp = (1 / factors[i] - 1 / rope.factor) / (1 - 1 / rope.factor);
    const double turns =
        ramp * (rope.high_freq_factor - rope.low_freq_factor) + rope.low_freq_factor;
    rope.original_max_position_embeddings =
        std::llround(std::min(1e12, turns * wavelength(theta, i, factors.size())));
    break;
  }
  for (size_t i = 0; i < factors.size(); ++i) {
    const double wave = wavelength(theta, i, factors.size());
    if (!close(factors[i], llama3_divisor(rope, wave))) return {};
  }
  return {{"rope_type", "llama3"},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_freq_factor},
          {"high_freq_factor", rope.high_freq_factor},
          {"original_max_position_embeddings", rope.original_max_position_embeddings}};
}

Json longrope(const std::vector<double>& short_factors, const std::vector<double>& long_factors,
              int64_t original, double amplitude) {
  return {{"rope_type", "longrope"},
          {"short_factor", short_factors},
          {"long_factor", long_factors},
          {"original_max_position_embeddings", original},
          {"attention_factor", amplitude}};
}

// Scaling that tensors of factors give, or null.
Json scaling_by_tensors(GgufKeys& keys, double theta, int64_t pairs, int64_t context) {
  const GgufFile& file = keys.file();
  const std::vector<double> one = factors_of(file, kGgufRopeFactors, pairs);
  const std::vector<double> short_factors = factors_of(file, kGgufShortFactors, pairs);
  const std::vector<double> long_factors = factors_of(file, kGgufLongFactors, pairs);
  PRUNUS_CHECK(short_factors.empty() == long_factors.empty(), Corrupt, file.path(), ": has one of ",
               kGgufShortFactors, " and ", kGgufLongFactors, ", expected both or none");
  PRUNUS_CHECK(one.empty() || short_factors.empty(), Unsupported, file.path(), ": has both ",
               kGgufRopeFactors, " and ", kGgufShortFactors);
  const double amplitude = keys.positive("rope.scaling.attn_factor", 1.0, true);
  const int64_t original =
      keys.integer("rope.scaling.original_context_length", 1, kMaxPositions, context);
  if (!short_factors.empty()) return longrope(short_factors, long_factors, original, amplitude);
  PRUNUS_CHECK(amplitude == 1.0, Unsupported, keys.place("rope.scaling.attn_factor"), " is ",
               amplitude, "; it is implemented together with ", kGgufLongFactors, " only");
  if (one.empty()) return {};
  Json scaling = llama3_of(one, theta);
  return scaling.is_null() ? longrope(one, one, context, 1.0) : scaling;
}

Json yarn(GgufKeys& keys, double factor, int64_t context) {
  Json scaling = {{"rope_type", "yarn"}, {"factor", factor}};
  scaling["original_max_position_embeddings"] =
      keys.integer("rope.scaling.original_context_length", 1, kMaxPositions, context);
  scaling["beta_fast"] = keys.positive("rope.scaling.yarn_beta_fast", 32.0);
  scaling["beta_slow"] = keys.positive("rope.scaling.yarn_beta_slow", 1.0);
  return scaling;
}

// Scaling that metadata gives, or null.
Json scaling_by_keys(GgufKeys& keys, int64_t context) {
  const std::string type = keys.text("rope.scaling.type", "linear");
  const double older = keys.positive("rope.scale_linear", 1.0, true);
  const double factor = keys.positive("rope.scaling.factor", older, true);
  keys.must_be("rope.scaling.yarn_ext_factor", 1.0);
  keys.must_be("rope.scaling.yarn_attn_factor", 1.0);
  keys.must_be("rope.scaling.yarn_log_multiplier", 0.0);
  keys.ignore(
      {"rope.scaling.finetuned", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"});
  if (type == "yarn") return yarn(keys, factor, context);
  PRUNUS_CHECK(type == "none" || type == "linear" || type == "longrope", Unsupported,
               keys.place("rope.scaling.type"), " is ", quote(type),
               "; known: none, linear, yarn, longrope");
  if (type != "linear" || factor == 1.0) return {};
  return {{"rope_type", "linear"}, {"factor", factor}};
}

// The share of a head's channels that is `rotated` of them in the arithmetic of config.json.
double share_of(int64_t rotated, int64_t head_dim) {
  double share = static_cast<double>(rotated) / static_cast<double>(head_dim);
  while (static_cast<int64_t>(static_cast<double>(head_dim) * share) < rotated) {
    share = std::nextafter(share, 2.0);
  }
  return share;
}

void read_share(GgufKeys& keys, const Family& family, int64_t rotated, int64_t head_dim,
                Json& json) {
  if (!family.partial_rotary) {
    PRUNUS_CHECK(rotated == head_dim, Unsupported, keys.place("rope.dimension_count"), " is ",
                 rotated, " and a head has ", head_dim,
                 " channels; heads that are turned in part are not of this architecture");
    return;
  }
  const std::string_view key = family.keys.partial_rotary;
  json[key.empty() ? "partial_rotary_factor" : std::string(key)] = share_of(rotated, head_dim);
}

void set(std::vector<GgufSetting>& settings, const std::string& key,
         decltype(GgufSetting::value) value) {
  settings.push_back({key, std::move(value)});
}

int64_t rotated_channels(const ModelConfig& config) {
  return config.rotary_dim != 0 ? config.rotary_dim : config.head_dim;
}

// "longrope" that is the same at every length.
bool one_list(const Rope& rope, const GgufArchitecture& architecture) {
  return architecture.limits.one_factor_list && rope.short_factor == rope.long_factor &&
         rope.attention_factor == 1.0;
}

at::Tensor tensor_of(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).to(at::kFloat);
}

}  // namespace

void read_gguf_rope(GgufKeys& keys, const Family& family, int64_t head_dim, Json& json) {
  if (family.positions != Positions::Rope) return;
  const double theta = keys.positive("rope.freq_base", 10000.0);
  json[first_name(family.keys.rope_theta)] = theta;
  const bool local = !family.local_rope_theta_key.empty();
  const double windowed = keys.positive("rope.freq_base_swa", local ? 10000.0 : theta);
  if (local) json[std::string(family.local_rope_theta_key)] = windowed;
  PRUNUS_CHECK(local || windowed == theta, Unsupported, keys.place("rope.freq_base_swa"), " is ",
               windowed, ", not that of the other layers, ", theta);
  const int64_t rotated = keys.integer("rope.dimension_count", 2, kMaxSize, head_dim);
  PRUNUS_CHECK(rotated <= head_dim && rotated % 2 == 0, Corrupt, keys.place("rope.dimension_count"),
               " is ", rotated, ", expected an even number of a head's ", head_dim, " channels");
  read_share(keys, family, rotated, head_dim, json);
  const int64_t context = keys.integer("context_length", 1, kMaxPositions);
  const Json by_keys = scaling_by_keys(keys, context);
  const Json by_tensors = scaling_by_tensors(keys, theta, rotated / 2, context);
  PRUNUS_CHECK(by_keys.is_null() || by_tensors.is_null(), Unsupported, keys.file().path(),
               ": rotary scaling by metadata (", keys.place("rope.scaling.factor"),
               ") and by a tensor of factors at once is not implemented");
  const Json& scaling = by_keys.is_null() ? by_tensors : by_keys;
  if (scaling.is_null()) return;
  json["rope_scaling"] = scaling;
  // Where the class looks for it beside the parameters.
  if (family.default_original_positions != 0 &&
      scaling.contains("original_max_position_embeddings")) {
    json["original_max_position_embeddings"] = scaling["original_max_position_embeddings"];
  }
}

void write_gguf_rope(const ModelConfig& config, const GgufArchitecture& architecture,
                     std::vector<GgufSetting>& settings) {
  const Family& family = *config.family;
  if (family.positions != Positions::Rope) return;
  const std::string prefix = std::string(architecture.name) + ".";
  const Rope& rope = config.rope;
  const std::string scaling = prefix + "rope.scaling.";
  set(settings, prefix + "rope.dimension_count", rotated_channels(config));
  set(settings, prefix + "rope.freq_base", rope.theta);
  if (!family.local_rope_theta_key.empty()) {
    set(settings, prefix + "rope.freq_base_swa", config.local_rope.theta);
  }
  const int64_t original = rope.original_max_position_embeddings;
  if (rope.kind == Rope::Kind::Linear) {
    set(settings, scaling + "type", std::string("linear"));
    set(settings, scaling + "factor", rope.factor);
  } else if (rope.kind == Rope::Kind::Yarn) {
    set(settings, scaling + "type", std::string("yarn"));
    set(settings, scaling + "factor", rope.factor);
    set(settings, scaling + "original_context_length", original);
    set(settings, scaling + "yarn_beta_fast", rope.beta_fast);
    set(settings, scaling + "yarn_beta_slow", rope.beta_slow);
  } else if (rope.kind == Rope::Kind::Longrope && !one_list(rope, architecture)) {
    set(settings, scaling + "type", std::string("longrope"));
    set(settings, scaling + "original_context_length", original);
    set(settings, scaling + "attn_factor", rope.attention_factor);
  }
}

std::vector<GgufRopeTensor> gguf_rope_tensors(const ModelConfig& config,
                                              const GgufArchitecture& architecture) {
  const Rope& rope = config.rope;
  if (config.family->positions != Positions::Rope) return {};
  if (rope.kind == Rope::Kind::Longrope && one_list(rope, architecture)) {
    return {{std::string(kGgufRopeFactors), tensor_of(rope.long_factor)}};
  }
  if (rope.kind == Rope::Kind::Longrope) {
    return {{std::string(kGgufLongFactors), tensor_of(rope.long_factor)},
            {std::string(kGgufShortFactors), tensor_of(rope.short_factor)}};
  }
  if (rope.kind != Rope::Kind::Llama3) return {};
  std::vector<double> factors;
  const auto pairs = static_cast<size_t>(rotated_channels(config) / 2);
  for (size_t i = 0; i < pairs; ++i) {
    factors.push_back(llama3_divisor(rope, wavelength(rope.theta, i, pairs)));
  }
  return {{std::string(kGgufRopeFactors), tensor_of(factors)}};
}

}  // namespace prunus
