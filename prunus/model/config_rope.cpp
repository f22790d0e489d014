#include <cmath>

#include "prunus/base/error.h"
#include "prunus/model/config_parts.h"

namespace prunus {
namespace {

// What rotary scaling needs to know of the rest of the configuration.
struct RopeContext {
  int64_t positions;           ///< max_position_embeddings
  int64_t original_positions;  ///< of a key beside the scaling, or as many
};

double yarn_attention_factor(ConfigFields& fields, double factor) {
  const auto scale = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  double fallback = scale(1.0);
  if (fields.has("mscale") && fields.has("mscale_all_dim")) {
    fallback = scale(fields.positive("mscale")) / scale(fields.positive("mscale_all_dim"));
  }
  fields.ignore({"mscale", "mscale_all_dim"});
  return fields.positive("attention_factor", fallback);
}

void read_yarn(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  rope.kind = Rope::Kind::Yarn;
  rope.original_max_position_embeddings = fields.integer("original_max_position_embeddings", 1,
                                                         kMaxPositions, context.original_positions);
  rope.factor = fields.positive("factor");
  rope.beta_fast = fields.positive("beta_fast", 32.0);
  rope.beta_slow = fields.positive("beta_slow", 1.0);
  rope.truncate = fields.boolean("truncate", true);
  rope.attention_factor = yarn_attention_factor(fields, rope.factor);
}

void read_longrope(ConfigFields& fields, const RopeContext& context, Rope& rope) {
  rope.kind = Rope::Kind::Longrope;
  rope.original_max_position_embeddings = fields.integer("original_max_position_embeddings", 2,
                                                         kMaxPositions, context.original_positions);
  rope.short_factor = fields.positives("short_factor");
  rope.long_factor = fields.positives("long_factor");
  const double stretch = static_cast<double>(context.positions) /
                         static_cast<double>(rope.original_max_position_embeddings);
  rope.factor = fields.positive("factor", stretch);
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
    rope.original_max_position_embeddings =
        fields.integer("original_max_position_embeddings", 1, kMaxPositions, context.positions);
  } else if (kind == "yarn" && !fields.has("short_factor")) {
    read_yarn(fields, context, rope);
  } else if (kind == "longrope" || kind == "su" || kind == "yarn") {  // its earlier names
    read_longrope(fields, context, rope);
  } else if (kind == "llama3") {
    rope.kind = Rope::Kind::Llama3;
    rope.factor = fields.positive("factor");
    rope.low_freq_factor = fields.positive("low_freq_factor");
    rope.high_freq_factor = fields.positive("high_freq_factor");
    rope.original_max_position_embeddings =
        fields.integer("original_max_position_embeddings", 1, kMaxPositions);
    PRUNUS_CHECK(rope.high_freq_factor > rope.low_freq_factor, Corrupt, fields.where(),
                 ": high_freq_factor must exceed low_freq_factor");
  } else {
    PRUNUS_CHECK(kind == "default", Unsupported, fields.where(), ": rope_type '", kind,
                 "' is not supported; known: default, linear, llama3, dynamic, yarn, longrope");
    fields.ignore({"factor"});
  }
}

// One object of rotary parameters in v5's spelling.
Rope read_v5_rope(ConfigFields& fields, const RopeContext& context, double theta,
                  double* partial = nullptr) {
  Rope rope;
  rope.theta = fields.positive("rope_theta", theta);
  const double share = fields.positive("partial_rotary_factor", partial ? *partial : 1.0);
  if (partial != nullptr) *partial = share;
  read_rope_kind(fields, context, rope);
  fields.refuse_unknown();
  return rope;
}

}  // namespace

double read_ropes(ConfigFields& fields, const Family& family, ModelConfig& config) {
  const ConfigKeys& keys = family.keys;
  double partial = family.default_partial_rotary;
  if (!keys.partial_rotary.empty()) {
    partial = fields.positive(std::string(keys.partial_rotary), partial);
  }
  const RopeContext context{config.max_position_embeddings,
                            fields.integer("original_max_position_embeddings", 1, kMaxPositions,
                                           config.max_position_embeddings)};
  Rope& rope = config.rope;
  rope.theta =
      fields.positive(config_key(fields.json(), keys.rope_theta), family.default_rope_theta);
  if (!family.rope_ratio_key.empty()) {
    rope.theta *= fields.positive(std::string(family.rope_ratio_key), 1.0);
  }
  if (!family.local_rope_theta_key.empty()) {
    config.local_rope.theta =
        fields.positive(std::string(family.local_rope_theta_key), family.default_local_rope_theta);
  }
  // v4 spells it rope_scaling (theta beside it), v5 rope_parameters (theta inside). Where both are
  // present v5 is the newer truth and v4 must not contradict it in kind.
  auto v4 = fields.object("rope_scaling");
  auto v5 = fields.object("rope_parameters");
  if (v4) {
    read_rope_kind(*v4, context, rope);
    rope.theta = v4->positive("rope_theta", rope.theta);
    v4->refuse_unknown();
  }
  if (!v5) return partial;
  const auto agreed = [&](const Rope& newer) {
    const bool agree = !v4 || (newer.kind == rope.kind && newer.factor == rope.factor);
    PRUNUS_CHECK(agree, Corrupt, fields.where(), ": rope_scaling and rope_parameters disagree");
    return newer;
  };
  if (auto full = v5->object("full_attention")) {
    rope = agreed(read_v5_rope(*full, context, rope.theta, &partial));
    if (auto local = v5->object("sliding_attention")) {
      config.local_rope = read_v5_rope(*local, context, config.local_rope.theta);
    }
    v5->refuse_unknown();
    return partial;
  }
  rope = agreed(read_v5_rope(*v5, context, rope.theta, &partial));
  return partial;
}

}  // namespace prunus
