#include "prunus/model/config_spellings.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/model/config.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::config_spellings_test {
namespace {

Json remote() {
  Json json = tiny_config({.family = "qwen2", .kv_heads = 2, .layers = 3});
  json["model_type"] = "prunus";
  json["architectures"] = {"PrunusForCausalLM"};
  json["auto_map"] = {{"AutoConfig", "configuration_prunus.PrunusConfig"}};
  json["prunus"] = {{"family", "qwen2"}, {"norm", "rms"}};
  json["per_layer_config"] = {
      {"1", {{"intermediate_size", 8}, {"num_attention_heads", 2}, {"num_key_value_heads", 1}}},
      {"02", {{"intermediate_size", 6}}}};
  return json;
}

TEST(InFamilySpelling, ReadsSizesPerLayerOfAModelWithCode) {
  const ModelConfig config = parse_config(remote(), "c");
  EXPECT_EQ(config.family->model_type, "qwen2");
  const std::vector<LayerShape> expected = {{4, 2, 12}, {2, 1, 8}, {4, 2, 6}};
  EXPECT_EQ(config.layers, expected);
  EXPECT_TRUE(config.passed_over.empty());
}

TEST(InFamilySpelling, IsGivenUpWhenTheModelIsWrittenInPrunussOwn) {
  const ModelConfig config = parse_config(remote(), "c");
  const Json json = rewrite_config(remote(), config);
  EXPECT_EQ(json.at("model_type"), "qwen2");
  EXPECT_EQ(json.at("architectures"), Json({"Qwen2ForCausalLM"}));
  for (const char* key : {"auto_map", "prunus", "per_layer_config"}) {
    EXPECT_FALSE(json.contains(key)) << key;
  }
  EXPECT_EQ(parse_config(json, "c").layers, config.layers);
}

void refuse_remote(const char* layer, const Json& sizes, ErrorKind kind, const std::string& part) {
  Json json = remote();
  json["per_layer_config"] = {{layer, sizes}};
  expect_error(kind, part, [&] { parse_config(json, "c"); });
}

TEST(InFamilySpelling, RefusesSizesPerLayerThatMakeNoSense) {
  refuse_remote("3", {{"intermediate_size", 8}}, ErrorKind::Corrupt, "has '3', expected numbers");
  refuse_remote("-1", {{"intermediate_size", 8}}, ErrorKind::Corrupt, "has '-1'");
  refuse_remote("x", {{"intermediate_size", 8}}, ErrorKind::Corrupt, "has 'x'");
  refuse_remote("1", 8, ErrorKind::Corrupt, "per_layer_config '1': expected a JSON object");
  refuse_remote("1", {{"intermediate_size", -1}}, ErrorKind::Corrupt, "'intermediate_size' is -1");
  refuse_remote("1", {{"num_key_value_heads", 0}}, ErrorKind::Corrupt, "and 0 key/value heads");
  refuse_remote("1", {{"num_attention_heads", 3}}, ErrorKind::Corrupt, "not a multiple of its 2");
  refuse_remote("1", {{"skip", {"attention"}}}, ErrorKind::Unsupported, "'skip' cannot differ");
  Json json = remote();
  json["per_layer_config"] = 3;
  expect_error(ErrorKind::Corrupt, "per_layer_config is 3", [&] { parse_config(json, "c"); });
  json.erase("prunus");
  expect_error(ErrorKind::Corrupt, "needs an object 'prunus'", [&] { parse_config(json, "c"); });
  json["prunus"] = {{"family", "mamba"}};
  expect_error(ErrorKind::Unsupported, "family 'mamba'", [&] { parse_config(json, "c"); });
}

Json blocks() {
  Json json = tiny_config({.hidden = 384, .head_dim = 96, .layers = 3});
  json["model_type"] = "nemotron-nas";
  json["architectures"] = {"DeciLMForCausalLM"};
  json.erase("intermediate_size");
  json.erase("num_key_value_heads");
  const auto block = [](int group, const Json& ffn) -> Json {
    return {{"attention",
             {{"no_op", false}, {"n_heads_in_group", group}, {"replace_with_linear", false}}},
            {"ffn", ffn}};
  };
  json["block_configs"] = {block(1, {{"intermediate_size", 100}, {"no_op", false}}),
                           block(2, {{"ffn_mult", 1.0}}), block(4, {{"ffn_mult", 2.0}})};
  return json;
}

// ffn_mult 1 of 384 is 2/3 · 384 = 256; ffn_mult 2 is 512.
TEST(InFamilySpelling, ReadsTheBlocksOfDeciLM) {
  const ModelConfig config = parse_config(blocks(), "c");
  EXPECT_EQ(config.family->model_type, "llama");
  const std::vector<LayerShape> expected = {{4, 4, 100}, {4, 2, 256}, {4, 1, 512}};
  EXPECT_EQ(config.layers, expected);
  const Json json = rewrite_config(blocks(), config);
  EXPECT_EQ(json.at("model_type"), "llama");
  EXPECT_FALSE(json.contains("block_configs"));
  EXPECT_EQ(json.at("layer_intermediate_size"), Json({100, 256, 512}));
}

// As in NVIDIA's Llama-3_1-Nemotron-51B and -Ultra-253B: what is not there has no size.
TEST(InFamilySpelling, ReadsBlocksWithoutAPart) {
  const Json no_attention = {
      {"n_heads_in_group", nullptr}, {"no_op", true}, {"replace_with_linear", false}};
  const Json no_ffn = {{"ffn_mult", nullptr}, {"no_op", true}, {"replace_with_linear", false}};
  Json json = blocks();
  json["block_configs"][0]["ffn"] = no_ffn;
  json["block_configs"][1]["attention"] = no_attention;
  const std::vector<LayerShape> expected = {{4, 4, 0}, {0, 0, 256}, {4, 1, 512}};
  const ModelConfig config = parse_config(json, "c");
  EXPECT_EQ(config.layers, expected);
  EXPECT_EQ(rewrite_config(json, config).at("model_type"), "prunus_llama");
  json["block_configs"][1]["ffn"] = no_ffn;  // a layer that does nothing
  EXPECT_EQ(parse_config(json, "c").layers[1], (LayerShape{0, 0, 0}));
}

TEST(InFamilySpelling, ReadsLayersWithoutAPartOfRemoteCode) {
  Json json = remote();
  json["per_layer_config"]["1"] = {{"num_attention_heads", 0}, {"num_key_value_heads", 0}};
  json["per_layer_config"]["0"] = {{"intermediate_size", 0}};
  const ModelConfig config = parse_config(json, "c");
  EXPECT_FALSE(config.layers[1].has(SubLayer::Attention));
  EXPECT_FALSE(config.layers[0].has(SubLayer::FeedForward));
  EXPECT_TRUE(config.layers[0].has(SubLayer::Attention));
}

TEST(InFamilySpelling, RefusesBlocksThatItDoesNotCompute) {
  const auto refuse = [](const char* part, const char* key, const Json& value, ErrorKind kind,
                         const std::string& message) {
    Json json = blocks();
    json["block_configs"][1][part][key] = value;
    expect_error(kind, message, [&] { parse_config(json, "c"); });
  };
  refuse("attention", "no_op", 1, ErrorKind::Corrupt, "'no_op'");
  refuse("attention", "n_heads_in_group", nullptr, ErrorKind::Corrupt, "n_heads_in_group");
  refuse("ffn", "replace_with_linear", true, ErrorKind::Unsupported, "replace_with_linear");
  refuse("attention", "n_heads_in_group", 3, ErrorKind::Corrupt, "no divisor of 4 heads");
  refuse("attention", "n_heads_in_group", 5, ErrorKind::Corrupt, "expected 1 to 4");
  refuse("attention", "window_length", 8, ErrorKind::Unsupported, "'window_length' = 8");
  refuse("ffn", "ffn_mult", 1e9, ErrorKind::Corrupt, "is impossible");
  refuse("ffn", "hidden_act", "gelu", ErrorKind::Unsupported, "hidden_act is \"gelu\"");
  Json json = blocks();
  json["block_configs"].erase(2);
  expect_error(ErrorKind::Corrupt, "a list of 3 objects", [&] { parse_config(json, "c"); });
  json = blocks();
  json["block_configs"][0].erase("ffn");
  expect_error(ErrorKind::Corrupt, "expected 'attention' and 'ffn'",
               [&] { parse_config(json, "c"); });
}

TEST(WithLayers, KeepsTheEntriesOfTheLayersThatAreLeftInEveryList) {
  Json original = tiny_config({.layers = 4});
  original["no_rope_layers"] = {1, 1, 1, 0};
  original["mlp_layer_types"] = {"a", "b", "c", "d"};
  original["layer_types"] = {"x", "y", "z"};  // not one per layer
  original["eos_token_id"] = {1, 2, 3, 4};    // as many as layers, of none
  const Json json = with_layers(original, {0, 2, 3});
  EXPECT_EQ(json.at("no_rope_layers"), Json({1, 1, 0}));
  EXPECT_EQ(json.at("mlp_layer_types"), Json({"a", "c", "d"}));
  EXPECT_EQ(json.at("layer_types").size(), 3u);
  EXPECT_EQ(json.at("eos_token_id").size(), 4u);
}

}  // namespace
}  // namespace prunus::test::config_spellings_test
