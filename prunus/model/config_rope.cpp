#include <cmath>
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"

namespace prunus {
namespace {

// What rotary scaling needs to know of the rest of the configuration.
struct RopeContext {
  const Family& family;
  int64_t positions;                          ///< max_position_embeddings
  std::optional<int64_t> original_positions;  ///< of a key beside the rotary parameters
};

// The length before stretching. What stands beside the rotary parameters wins over what they say.
int64_t original_of(ConfigFields& fields, const RopeContext& context) {
  const int64_t inside =
      fields.integer("original_max_position_embeddings", 1, kMaxPositions, context.positions);
  return context.original_positions.value_or(inside);
}

// An explicit null stands for the ratio of the two lengths.
double stretch_of(ConfigFields& fields, const RopeContext& context, const Rope& rope) {
  return fields.positive("factor", static_cast<double>(context.positions) /
                                       static_cast<double>(rope.original_max_position_embeddings));
}

// A number that counts only where it is there and not 0; else 0.
double positive_or_none(ConfigFields& fields, const char* key) {
  if (fields.has(key) && fields.json().at(key) != 0) return fields.positive(key);
  fields.ignore({key});
  return 0;
}

double yarn_attention_factor(ConfigFields& fields, double factor) {
  const auto scale = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  double fallback = scale(1.0);
  const double mscale = positive_or_none(fields, "mscale");
  const double all_dim = positive_or_none(fields, "mscale_all_dim");
  if (mscale != 0 && all_dim != 0) fallback = scale(mscale) / scale(all_dim);
  return fields.positive("attention_factor", fallback);
}

void read_yarn(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  rope.kind = Rope::Kind::Yarn;
  rope.original_max_position_embeddings = original_of(fields, context);
  rope.factor = fields.json().contains("factor") ? stretch_of(fields, context, rope)
                                                 : fields.positive("factor");
  if (const double fast = positive_or_none(fields, "beta_fast"); fast != 0) rope.beta_fast = fast;
  if (const double slow = positive_or_none(fields, "beta_slow"); slow != 0) rope.beta_slow = slow;
  rope.truncate = fields.boolean("truncate", true);
  rope.attention_factor = yarn_attention_factor(fields, rope.factor);
}

void read_longrope(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  rope.kind = Rope::Kind::Longrope;
  rope.original_max_position_embeddings = original_of(fields, context);
  PRUNUS_CHECK(rope.original_max_position_embeddings > 1, Corrupt, fields.where(),
               ": 'original_max_position_embeddings' is ", rope.original_max_position_embeddings,
               ", expected at least 2: longrope divides by its logarithm");
  rope.short_factor = fields.positives("short_factor");
  rope.long_factor = fields.positives("long_factor");
  rope.factor = stretch_of(fields, context, rope);
  const double scale =
      std::sqrt(1 + std::log(rope.factor) /
                        std::log(static_cast<double>(rope.original_max_position_embeddings)));
  rope.attention_factor = fields.positive("attention_factor", rope.factor <= 1 ? 1.0 : scale);
}

void read_rope_kind(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  std::string kind = fields.text("type", "default");
  kind = fields.text("rope_type", kind);
  if (kind == "linear") {
    rope.kind = Rope::Kind::Linear;
    rope.factor = fields.positive("factor");
  } else if (kind == "dynamic") {
    rope.kind = Rope::Kind::Dynamic;
    rope.factor = fields.positive("factor");
    rope.original_max_position_embeddings = context.positions;  // another is not looked at
    fields.ignore({"original_max_position_embeddings"});
  } else if (kind == "yarn" && !fields.has("short_factor")) {
    read_yarn(fields, context, rope);
  } else if (kind == "longrope" || kind == "su" || kind == "yarn") {  // its earlier names
    read_longrope(fields, context, rope);
  } else if (kind == "llama3") {
    rope.kind = Rope::Kind::Llama3;
    rope.factor = fields.positive("factor");
    rope.low_freq_factor = fields.positive("low_freq_factor");
    rope.high_freq_factor = fields.positive("high_freq_factor");
    rope.original_max_position_embeddings = original_of(fields, context);
    PRUNUS_CHECK(rope.high_freq_factor > rope.low_freq_factor, Corrupt, fields.where(),
                 ": high_freq_factor must exceed low_freq_factor");
  } else {
    PRUNUS_CHECK(kind == "default", Unsupported, fields.where(), ": rope_type '", kind,
                 "' is not supported; known: default, linear, llama3, dynamic, yarn, longrope");
    fields.ignore({"factor"});
  }
}

// One object of rotary parameters, complete.
Rope read_rope(ConfigFields& fields, const RopeContext& context, double theta,
               double* partial = nullptr) {
  Rope rope;
  rope.theta = fields.positive("rope_theta", theta);
  const double share = fields.positive("partial_rotary_factor", partial ? *partial : 1.0);
  if (partial != nullptr) *partial = share;
  read_rope_kind(fields, context, rope);
  return rope;
}

// The base and the share of rotated channels as the older keys at the top say them.
double read_top_level(ConfigFields& fields, const Family& family, ModelConfig& config) {
  const ConfigKeys& keys = family.keys;
  config.rope.theta =
      fields.positive(config_key(fields.json(), keys.rope_theta), family.default_rope_theta);
  if (!family.rope_ratio_key.empty()) {
    config.rope.theta *= fields.positive(std::string(family.rope_ratio_key), 1.0);
  }
  if (!family.local_rope_theta_key.empty()) {
    config.local_rope.theta =
        fields.positive(std::string(family.local_rope_theta_key), family.default_local_rope_theta);
  }
  const double partial = family.default_partial_rotary;
  return keys.partial_rotary.empty() ? partial
                                     : fields.positive(std::string(keys.partial_rotary), partial);
}

RopeContext context_of(ConfigFields& fields, const Family& family, const ModelConfig& config) {
  constexpr const char* kOriginal = "original_max_position_embeddings";
  std::optional<int64_t> original;
  if (family.default_original_positions != 0) original = family.default_original_positions;
  if (fields.has(kOriginal)) original = fields.integer(kOriginal, 1, kMaxPositions);
  fields.ignore({kOriginal});
  return {family, config.max_position_embeddings, original};
}

// Windowed layers with a base of their own: one object of rotary parameters for each type of layer.
void read_by_layer_type(ConfigFields& v5, const RopeContext& context, ModelConfig& config,
                        double& partial) {
  // A key beside them says nothing to parameters of one type of layer.
  const RopeContext inside{context.family, context.positions, std::nullopt};
  if (auto full = v5.object("full_attention")) {
    config.rope = read_rope(*full, inside, config.rope.theta, &partial);
    judge_unknown_rope(v5, *full, "full_attention", context.family);
  }
  if (auto local = v5.object("sliding_attention")) {
    config.local_rope = read_rope(*local, inside, config.local_rope.theta);
    judge_unknown_rope(v5, *local, "sliding_attention", context.family);
  }
}

void check_agreement(const Rope& older, const Rope& newer, const std::string& where) {
  PRUNUS_CHECK(older == newer, Corrupt, where, ": rope_scaling and rope_parameters disagree");
}

// Stock classes that know no share rotate whole heads, and fail under any scaling.
double known_share(ConfigFields& fields, const Family& family, const Rope& rope, double share) {
  if (family.partial_rotary || share == 1.0) return share;
  PRUNUS_CHECK(rope.kind == Rope::Kind::Default, Unsupported, fields.where(),
               ": partial_rotary_factor = ", share, " is not supported for model_type '",
               family.model_type, "' with a scaled rope; its stock class cannot run it either");
  fields.pass_over("partial_rotary_factor");
  return 1.0;
}

}  // namespace

double read_ropes(ConfigFields& fields, const Family& family, ModelConfig& config) {
  const RopeContext context = context_of(fields, family, config);
  const bool by_type = !family.local_rope_theta_key.empty();
  double partial = read_top_level(fields, family, config);
  // v4 spells it rope_scaling (theta beside it), v5 rope_parameters (theta inside).
  auto v4 = fields.object("rope_scaling");
  auto v5 = fields.object("rope_parameters");
  if (v5 && by_type) read_by_layer_type(*v5, context, config, partial);
  const double theta = config.rope.theta;
  for (const char* type : {"full_attention", "sliding_attention"}) {
    const bool nested = v5 && !by_type && v5->has(type);
    if (nested) v5->refuse(type, "gives a type of layer its own rope, which the stock class lacks");
  }
  const Rope newer = v5 && !by_type ? read_rope(*v5, context, theta, &partial) : config.rope;
  if (v4) {
    const Rope older = read_rope(*v4, context, theta, &partial);
    if (v5 && (!by_type || v5->has("full_attention"))) {
      check_agreement(older, newer, fields.where());
    }
    config.rope = older;
    judge_unknown_rope(fields, *v4, "rope_scaling", family);
  }
  if (v5) {
    config.rope = v4 ? config.rope : newer;
    judge_unknown_rope(fields, *v5, "rope_parameters", family);
    for (const std::string& name : v5->passed_over()) fields.pass_over("rope_parameters." + name);
  }
  return known_share(fields, family, config.rope, partial);
}

}  // namespace prunus
