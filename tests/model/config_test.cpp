#include "prunus/model/config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

#include "support/tiny_model.h"

namespace prunus::test {
namespace {

void expect_refused(const Json& json, ErrorKind kind, const std::string& part) {
  try {
    parse_config(json, "config.json");
    ADD_FAILURE() << "accepted: " << json.dump();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(ParseConfig, ReadsBothSpellingsOfTheRopeFields) {
  Json v4 = tiny_config({});
  v4["rope_theta"] = 500000.0;
  v4["rope_scaling"] = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32}};
  Json v5 = tiny_config({});
  v5.erase("rope_theta");
  v5["rope_parameters"] = v4["rope_scaling"];
  v5["rope_parameters"]["rope_theta"] = 500000.0;
  for (const Json& json : {v4, v5}) {
    const Rope rope = parse_config(json, "c").rope;
    EXPECT_EQ(rope.kind, Rope::Kind::Llama3);
    EXPECT_EQ(rope.theta, 500000.0);
    EXPECT_EQ(rope.factor, 8.0);
    EXPECT_EQ(rope.original_max_position_embeddings, 32);
  }
}

TEST(ParseConfig, RefusesFieldsThatChangeTheMathsByName) {
  const auto with = [](const char* key, const Json& value) {
    Json json = tiny_config({});
    json[key] = value;
    return json;
  };
  expect_refused(with("attn_logit_softcapping", 30.0), ErrorKind::Unsupported,
                 "attn_logit_softcapping");
  expect_refused(with("partial_rotary_factor", 0.5), ErrorKind::Unsupported,
                 "partial_rotary_factor");
  expect_refused(with("hidden_act", "xielu"), ErrorKind::Unsupported, "hidden_act");
  expect_refused(with("quantization_config", {{"bits", 4}}), ErrorKind::Unsupported,
                 "quantization_config");
  expect_refused(with("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}),
                 ErrorKind::Unsupported, "rope_type");
  expect_refused(with("rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}, {"beta", 2.0}}),
                 ErrorKind::Unsupported, "beta");
  expect_refused(with("model_type", "mamba"), ErrorKind::Unsupported, "model_type");
}

TEST(ParseConfig, IgnoresUnknownFieldsThatSayNothing) {
  Json json = tiny_config({});
  json["some_new_feature"] = false;
  json["another"] = nullptr;
  EXPECT_NO_THROW(parse_config(json, "c"));
}

TEST(ParseConfig, RefusesImpossibleSizes) {
  const auto with = [](const char* key, const Json& value) {
    Json json = tiny_config({});
    json[key] = value;
    return json;
  };
  expect_refused(with("hidden_size", 0), ErrorKind::Corrupt, "hidden_size");
  expect_refused(with("hidden_size", "16"), ErrorKind::Corrupt, "hidden_size");
  expect_refused(with("num_hidden_layers", 1e9), ErrorKind::Corrupt, "num_hidden_layers");
  expect_refused(with("num_hidden_layers", uint64_t{1} << 63), ErrorKind::Corrupt,
                 "num_hidden_layers");
  expect_refused(with("num_key_value_heads", 3), ErrorKind::Corrupt, "key/value");
  expect_refused(with("head_dim", 5), ErrorKind::Corrupt, "odd");
  expect_refused(with("rms_norm_eps", -1), ErrorKind::Corrupt, "rms_norm_eps");
  expect_refused(with("layer_intermediate_size", {4}), ErrorKind::Corrupt, "list of 2");
}

TEST(RewriteConfig, KeepsAUniformModelStockAndListsALayeredOne) {
  const Json original = tiny_config({.q_heads = 4, .kv_heads = 2});
  ModelConfig config = parse_config(original, "c");
  for (LayerShape& layer : config.layers) layer.intermediate_size = 8;
  const Json uniform = rewrite_config(original, config);
  EXPECT_EQ(uniform.at("intermediate_size"), 8);
  EXPECT_FALSE(uniform.contains("layer_intermediate_size"));
  EXPECT_EQ(uniform.at("model_type"), "llama");
  config.layers[1].num_attention_heads = 2;
  config.layers[1].num_key_value_heads = 1;
  const Json layered = rewrite_config(original, config);
  EXPECT_EQ(layered.at("layer_num_attention_heads"), Json({4, 2}));
  EXPECT_EQ(layered.at("num_attention_heads"), 4);
  EXPECT_EQ(parse_config(layered, "c").layers, config.layers);
}

TEST(RewriteConfig, WritesLlamaWithIndivisibleHeadsAsMistral) {
  Json original = tiny_config({});  // hidden 16, 4 heads
  original.erase("max_position_embeddings");
  ModelConfig config = parse_config(original, "c");
  for (LayerShape& layer : config.layers) layer.num_attention_heads = layer.num_key_value_heads = 3;
  const Json json = rewrite_config(original, config);
  EXPECT_EQ(json.at("model_type"), "mistral");
  EXPECT_TRUE(json.at("sliding_window").is_null());
  EXPECT_EQ(json.at("head_dim"), 4);
  const ModelConfig back = parse_config(json, "c");
  EXPECT_EQ(back.layers, config.layers);
  EXPECT_EQ(back.max_position_embeddings, 2048);  // Llama's default, not Mistral's
}

TEST(ParseConfig, AppliesEachFamilysWindowRule) {
  Json mistral = tiny_config({.family = "mistral"});
  mistral["sliding_window"] = 8;
  EXPECT_EQ(parse_config(mistral, "c").layers[0].sliding_window, 8);
  mistral.erase("sliding_window");
  EXPECT_EQ(parse_config(mistral, "c").layers[0].sliding_window, 4096);
  Json qwen = tiny_config({.family = "qwen2"});
  qwen["sliding_window"] = 8;
  EXPECT_FALSE(parse_config(qwen, "c").layers[1].sliding_window.has_value());
  qwen["use_sliding_window"] = true;
  qwen["max_window_layers"] = 1;
  EXPECT_FALSE(parse_config(qwen, "c").layers[0].sliding_window.has_value());
  EXPECT_EQ(parse_config(qwen, "c").layers[1].sliding_window, 8);
}

}  // namespace
}  // namespace prunus::test
