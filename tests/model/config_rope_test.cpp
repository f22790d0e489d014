#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/model/config_parts.h"

#include "support/expect_error.h"

namespace prunus::test::config_rope_test {
namespace {

struct Read {
  Rope rope;
  Rope local;
  double share = 0;
};

// The rotary fields of a model with 64 positions.
Read read(const Json& json, const char* family = "llama") {
  ModelConfig config;
  config.max_position_embeddings = 64;
  ConfigFields fields(json, "config.json");
  const double share = read_ropes(fields, *find_family(family), config);
  return {config.rope, config.local_rope, share};
}

Rope scaled(const Json& scaling) { return read({{"rope_scaling", scaling}}).rope; }

void expect_refused(const Json& json, ErrorKind kind, const std::string& part,
                    const char* family = "llama") {
  expect_error(kind, part, [&] { read(json, family); });
}

TEST(ReadRopes, TakesTheBaseFromTheFamilyUnlessItIsGiven) {
  EXPECT_EQ(read(Json::object()).rope, Rope{});
  EXPECT_EQ(read(Json::object(), "mixtral").rope.theta, 1e6);
  EXPECT_EQ(read({{"rope_theta", 5.5}}, "mixtral").rope.theta, 5.5);
  EXPECT_EQ(read({{"rotary_emb_base", 700}}, "gpt_neox").rope.theta, 700);
  EXPECT_EQ(read({{"rope_ratio", 500}}, "chatglm").rope.theta, 5e6);
  EXPECT_EQ(read({{"rope_parameters", {{"rope_theta", 5.5}}}}).rope.theta, 5.5);
}

TEST(ReadRopes, GivesTheShareOfChannelsThatAreRotated) {
  EXPECT_EQ(read(Json::object()).share, 1.0);
  EXPECT_EQ(read(Json::object(), "gpt_neox").share, 0.25);
  EXPECT_EQ(read({{"rotary_pct", 0.5}}, "gpt_neox").share, 0.5);
  EXPECT_EQ(read({{"rope_parameters", {{"partial_rotary_factor", 0.75}}}}, "glm").share, 0.75);
}

TEST(ReadRopes, PrefersTheNewNameOfTheKindToTheOld) {
  EXPECT_EQ(scaled({{"type", "linear"}, {"factor", 2}}).kind, Rope::Kind::Linear);
  const Rope both = scaled({{"type", "linear"}, {"rope_type", "dynamic"}, {"factor", 3}});
  EXPECT_EQ(both.kind, Rope::Kind::Dynamic);
  EXPECT_EQ(both.factor, 3);
  EXPECT_EQ(both.original_max_position_embeddings, 64);
  EXPECT_TRUE(both.by_length());
}

TEST(ReadRopes, ScalesNothingUnderTheKindDefault) {
  EXPECT_EQ(scaled({{"rope_type", "default"}, {"factor", 8.0}}), Rope{});
}

TEST(ReadRopes, WorksOutYarnsAttentionFactor) {
  Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  EXPECT_DOUBLE_EQ(scaled(yarn).attention_factor, 1.1386294361119891);  // 0.1·ln 4 + 1
  yarn["factor"] = 1.0;
  EXPECT_EQ(scaled(yarn).attention_factor, 1.0);
  yarn["factor"] = 40.0;
  yarn["mscale"] = 0.5;
  yarn["mscale_all_dim"] = 1.5;
  EXPECT_DOUBLE_EQ(scaled(yarn).attention_factor,
                   (0.05 * std::log(40.0) + 1) / (0.15 * std::log(40.0) + 1));
  yarn.erase("mscale");  // one of the two says nothing
  EXPECT_DOUBLE_EQ(scaled(yarn).attention_factor, 0.1 * std::log(40.0) + 1);
  yarn["attention_factor"] = 1.25;
  EXPECT_EQ(scaled(yarn).attention_factor, 1.25);
}

TEST(ReadRopes, TakesDynamicScalingFromThePositionsWhateverElseIsSaid) {
  Json json = {
      {"rope_scaling",
       {{"rope_type", "dynamic"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}}}};
  EXPECT_EQ(read(json).rope.original_max_position_embeddings, 64);
  json["original_max_position_embeddings"] = 32;
  EXPECT_EQ(read(json).rope.original_max_position_embeddings, 64);
}

TEST(ReadRopes, FindsTheOriginalLengthBesideElseInsideElseInThePositions) {
  Json json = {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}, {"beta_fast", 16}}}};
  EXPECT_EQ(read(json).rope.original_max_position_embeddings, 64);
  json["rope_scaling"]["original_max_position_embeddings"] = 16;
  EXPECT_EQ(read(json).rope.original_max_position_embeddings, 16);
  json["original_max_position_embeddings"] = 32;
  const Rope rope = read(json).rope;
  EXPECT_EQ(rope.original_max_position_embeddings, 32);
  json = {{"rope_scaling",
           {{"rope_type", "llama3"},
            {"factor", 8.0},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0}}}};
  EXPECT_EQ(read(json).rope.original_max_position_embeddings, 64);
  EXPECT_EQ(rope.beta_fast, 16);
  EXPECT_EQ(rope.beta_slow, 1);
  EXPECT_TRUE(rope.truncate);
}

TEST(ReadRopes, TakesPhi3sOriginalLengthFromItsOwnKeyOrDefaultOnly) {
  Json json = {{"rope_scaling",
                {{"type", "longrope"},
                 {"short_factor", {1.0}},
                 {"long_factor", {2.0}},
                 {"factor", 2.0},
                 {"original_max_position_embeddings", 16}}}};
  EXPECT_EQ(read(json, "phi3").rope.original_max_position_embeddings, 4096);
  json["original_max_position_embeddings"] = 32;
  EXPECT_EQ(read(json, "phi3").rope.original_max_position_embeddings, 32);
}

TEST(ReadRopes, WorksOutAFactorThatIsNull) {
  Json json = {{"rope_scaling",
                {{"rope_type", "yarn"},
                 {"factor", nullptr},
                 {"mscale", 0},
                 {"beta_fast", 0},
                 {"original_max_position_embeddings", 16}}}};
  EXPECT_EQ(read(json).rope.factor, 4.0);  // 64 / 16
  EXPECT_EQ(read(json).rope.beta_fast, 32);
  EXPECT_DOUBLE_EQ(read(json).rope.attention_factor, 0.1 * std::log(4.0) + 1);
}

TEST(ReadRopes, LeavesHeadsWholeWhereTheStockClassKnowsNoShare) {
  EXPECT_EQ(read({{"partial_rotary_factor", 0.5}}).share, 1.0);
  EXPECT_EQ(read({{"partial_rotary_factor", 0.5}}, "phi3").share, 0.5);
  expect_refused({{"partial_rotary_factor", 0.5},
                  {"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}},
                 ErrorKind::Unsupported, "stock class cannot run it either");
}

TEST(ReadRopes, KnowsLongropeByItsEarlierNames) {
  Json longrope = {{"short_factor", {1.0, 2.0}},
                   {"long_factor", {3.0, 4.0}},
                   {"original_max_position_embeddings", 16}};
  for (const char* name : {"longrope", "su", "yarn"}) {
    longrope["type"] = name;
    const Rope rope = scaled(longrope);
    EXPECT_EQ(rope.kind, Rope::Kind::Longrope) << name;
    EXPECT_EQ(rope.factor, 4.0);                                    // 64 / 16
    EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1.0 + 0.5));  // ln 4 / ln 16
    EXPECT_EQ(rope.long_factor, (std::vector<double>{3, 4}));
  }
  longrope["factor"] = 1.0;
  EXPECT_EQ(scaled(longrope).attention_factor, 1.0);
}

TEST(ReadRopes, GivesWindowedLayersTheirOwnBase) {
  const Read v4 = read({{"rope_theta", 1e5},
                        {"rope_local_base_freq", 500.0},
                        {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}},
                       "gemma3_text");
  EXPECT_EQ(v4.rope.theta, 1e5);
  EXPECT_EQ(v4.rope.factor, 8.0);
  EXPECT_EQ(v4.local, Rope{.theta = 500.0});
  const Read v5 =
      read({{"rope_parameters",
             {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1e5}}},
              {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 500.0}}}}}},
           "gemma3_text");
  EXPECT_EQ(v5.rope, v4.rope);
  EXPECT_EQ(v5.local, v4.local);
}

TEST(ReadRopes, RefusesSpellingsThatContradictEachOther) {
  Json json = {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}},
               {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}}}};
  EXPECT_EQ(read(json).rope.factor, 2.0);
  json["rope_parameters"]["factor"] = 4.0;
  expect_refused(json, ErrorKind::Corrupt, "rope_scaling and rope_parameters disagree");
  json["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 500.0}};
  expect_refused(json, ErrorKind::Corrupt, "disagree");
  json["rope_theta"] = 500.0;
  EXPECT_EQ(read(json).rope.theta, 500.0);
  json["rope_parameters"] = {{"rope_type", "default"}};
  expect_refused(json, ErrorKind::Corrupt, "disagree");
}

TEST(ReadRopes, HoldsTheOlderSpellingAgainstTheLayersOfFullAttention) {
  const Json plain = {{"rope_type", "default"}};
  expect_refused({{"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}},
                  {"rope_parameters", {{"full_attention", plain}, {"sliding_attention", plain}}}},
                 ErrorKind::Corrupt, "disagree", "gemma3_text");
}

TEST(ReadRopes, RefusesALongropeOfOneOriginalPosition) {
  expect_refused({{"rope_scaling",
                   {{"rope_type", "longrope"},
                    {"short_factor", {1.0, 1.0}},
                    {"long_factor", {2.0, 1.0}},
                    {"original_max_position_embeddings", 1}}}},
                 ErrorKind::Corrupt, "original_max_position_embeddings");
}

TEST(ReadRopes, NamesTheFieldThatIsMissingOrImpossible) {
  const auto refuse = [](const Json& scaling, const std::string& part) {
    expect_refused({{"rope_scaling", scaling}}, ErrorKind::Corrupt, part);
  };
  refuse({{"rope_type", "linear"}}, "config.json: 'rope_scaling': 'factor' is missing");
  refuse({{"rope_type", "dynamic"}, {"factor", 0}}, "'factor' is 0");
  refuse({{"rope_type", "yarn"}, {"factor", "4"}}, "'factor' is \"4\", expected a number");
  refuse({{"rope_type", "yarn"}, {"factor", 4}, {"truncate", 1}}, "'truncate' is 1");
  refuse({{"rope_type", "longrope"}, {"long_factor", {1.0}}}, "'short_factor' must be a list");
  refuse({{"rope_type", 3}}, "'rope_type' is 3");
  refuse("linear", "'rope_scaling': expected a JSON object");
  Json llama3 = {{"rope_type", "llama3"},
                 {"factor", 8.0},
                 {"low_freq_factor", 4.0},
                 {"high_freq_factor", 4.0},
                 {"original_max_position_embeddings", 32}};
  refuse(llama3, "high_freq_factor must exceed low_freq_factor");
  expect_refused({{"rope_theta", -1.0}}, ErrorKind::Corrupt, "'rope_theta' is -1.0");
}

std::vector<std::string> passed_over(const Json& json, const char* family) {
  ModelConfig config;
  config.max_position_embeddings = 64;
  ConfigFields fields(json, "config.json");
  read_ropes(fields, *find_family(family), config);
  return fields.passed_over();
}

using Names = std::vector<std::string>;

TEST(ReadRopes, PassesOverFieldsThatTheStockClassDoesNotRead) {
  for (const std::string spelling : {"rope_scaling", "rope_parameters"}) {
    const Json json = {{spelling, {{"rope_type", "default"}, {"spin", false}, {"beta", 2}}}};
    EXPECT_EQ(passed_over(json, "llama"), (Names{spelling + ".spin", spelling + ".beta"}));
    expect_refused(json, ErrorKind::Unsupported, "field 'spin' = false", "chatglm");
  }
  EXPECT_EQ(passed_over({{"rope_parameters",
                          {{"full_attention", {{"rope_type", "default"}, {"spin", 2}}},
                           {"chunked_attention", {{"rope_type", "default"}}}}}},
                        "gemma3_text"),
            (Names{"rope_parameters.chunked_attention", "rope_parameters.full_attention.spin"}));
}

TEST(ReadRopes, RefusesWhatItDoesNotImplement) {
  expect_refused({{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
                 ErrorKind::Unsupported, "field 'full_attention'");
  expect_refused({{"rope_scaling", {{"rope_type", "spiral"}}}}, ErrorKind::Unsupported,
                 "rope_type 'spiral'");
}

}  // namespace
}  // namespace prunus::test::config_rope_test
