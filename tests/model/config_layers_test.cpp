#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/model/config_parts.h"

#include "support/expect_error.h"

namespace prunus::test::config_layers_test {
namespace {

using Shapes = std::vector<LayerShape>;

// Three layers of four heads, 24 channels wide inside.
Json three_layers() {
  return {{"num_hidden_layers", 3}, {"num_attention_heads", 4}, {"intermediate_size", 24}};
}

Json with(Json json, const char* key, const Json& value) {
  json[key] = value;
  return json;
}

ModelConfig read(const Json& json, const char* family = "llama") {
  ModelConfig config;
  config.hidden_size = 16;
  ConfigFields fields(json, "config.json");
  config.layers = layers_of(fields, *find_family(family), config);
  return config;
}

void expect_refused(const Json& json, const std::string& part, const char* family = "llama",
                    ErrorKind kind = ErrorKind::Corrupt) {
  expect_error(kind, part, [&] { read(json, family); });
}

TEST(SizeAt, TakesTheFirstAlternativeThatIsThere) {
  const Json json = {{"n_embed", 8}, {"hidden_size", nullptr}, {"n_layer", 0}};
  ConfigFields fields(json, "config.json");
  EXPECT_EQ(size_at(fields, "hidden_size|n_embed", 100), 8);
  EXPECT_EQ(size_at(fields, "n_inner|ffn_dim", 100, 32), 32);
  expect_error(ErrorKind::Corrupt, "'n_layer' is 0, expected 1 to 100",
               [&] { size_at(fields, "n_layer|num_layers", 100); });
  expect_error(ErrorKind::Corrupt, "'n_embed' is 8, expected 1 to 7",
               [&] { size_at(fields, "n_embed", 7); });
  expect_error(ErrorKind::Corrupt, "'n_inner' is missing",
               [&] { size_at(fields, "n_inner|ffn_dim", 100); });
}

TEST(SizeAt, RefusesTwoSpellingsThatDisagree) {
  const Json json = {{"n_embed", 8}, {"hidden_size", 16}, {"n_layer", 2}, {"num_layers", 2}};
  ConfigFields fields(json, "config.json");
  EXPECT_EQ(size_at(fields, "n_layer|num_layers", 100), 2);
  expect_error(ErrorKind::Corrupt, "'hidden_size' is 16 and 'n_embed' is 8; they are two names of",
               [&] { size_at(fields, "hidden_size|n_embed", 100); });
}

TEST(SwitchOf, IsTheFamilysValueUnlessItsKeyIsThere) {
  const Json json = {{"bias", true}, {"number", 1}};
  ConfigFields fields(json, "config.json");
  EXPECT_TRUE(switch_of(fields, {.value = true}));
  EXPECT_TRUE(switch_of(fields, {.value = false, .key = "bias"}));
  EXPECT_TRUE(switch_of(fields, {.value = true, .key = "absent"}));
  expect_error(ErrorKind::Corrupt, "'number' is 1, expected true or false",
               [&] { switch_of(fields, {.key = "number"}); });
}

TEST(LayersOf, GivesEveryLayerTheSameSizesUnlessListsSayOtherwise) {
  const LayerShape same{
      .num_attention_heads = 4, .num_key_value_heads = 4, .intermediate_size = 24};
  EXPECT_EQ(read(three_layers()).layers, Shapes(3, same));
  Json json = with(three_layers(), "layer_num_attention_heads", {4, 2, 6});
  json["layer_num_key_value_heads"] = {2, 1, 6};
  json["layer_intermediate_size"] = {24, 1, 30};
  const Shapes layers = read(json).layers;
  EXPECT_EQ(layers[1], (LayerShape{2, 1, 1}));
  EXPECT_EQ(layers[2], (LayerShape{6, 6, 30}));
}

// Only an absent key stands for the family's default: null stands for one per query head.
TEST(LayersOf, ReadsKeyValueHeadsAsTheFamilysConfigurationClassDoes) {
  EXPECT_EQ(read(three_layers(), "glm").layers[0].num_key_value_heads, 2);
  const Json null = with(three_layers(), "num_key_value_heads", nullptr);
  EXPECT_EQ(read(null, "glm").layers[0].num_key_value_heads, 4);
  EXPECT_EQ(read(with(three_layers(), "num_key_value_heads", 1), "glm").layers[0],
            (LayerShape{4, 1, 24}));
}

TEST(LayersOf, WorksOutTheWidthWhereTheFamilyHasARuleForIt) {
  Json json = {{"n_layer", 1}, {"n_head", 2}};
  EXPECT_EQ(read(json, "gpt2").layers[0].intermediate_size, 64);  // 4 · 16
  json["n_inner"] = 40;
  EXPECT_EQ(read(json, "gpt2").layers[0].intermediate_size, 40);
  json.erase("n_inner");
  json["intermediate_size"] = 12;  // BLOOM has no key: only a pruned model says so
  EXPECT_EQ(read(json, "bloom").layers[0].intermediate_size, 12);
  expect_refused({{"num_hidden_layers", 1}, {"num_attention_heads", 2}},
                 "'intermediate_size' is missing");
}

TEST(LayersOf, NamesTheLayerWhoseSizesMakeNoSense) {
  const auto refuse = [](const char* key, const Json& value, const std::string& part) {
    expect_refused(with(three_layers(), key, value), part);
  };
  refuse("num_hidden_layers", 4097, "'num_hidden_layers' is 4097, expected 1 to 4096");
  refuse("layer_num_attention_heads", {4, 0, 4}, "layer 1 has 0 query heads");
  refuse("layer_num_key_value_heads", {4, 4, 3},
         "layer 2 has 4 query heads, not a multiple of its 3");
  refuse("layer_intermediate_size", {4, 4}, "must be a list of 3");
  refuse("layer_intermediate_size", {4, 4, -1}, "'layer_intermediate_size' is -1");
}

std::vector<int64_t> windows(const Json& json, const char* family) {
  std::vector<int64_t> sizes;
  for (const LayerShape& layer : read(json, family).layers) {
    sizes.push_back(layer.sliding_window.value_or(0));
  }
  return sizes;
}

using Sizes = std::vector<int64_t>;

TEST(Windows, AreOnAllLayersButEveryNthUnderAPattern) {
  Json json = with(three_layers(), "sliding_window", 8);
  EXPECT_EQ(windows(json, "gemma2"), (Sizes{8, 0, 8}));       // its own pattern: 2
  EXPECT_EQ(windows(json, "gemma3_text"), (Sizes{8, 8, 8}));  // 6
  json["sliding_window_pattern"] = 3;
  EXPECT_EQ(windows(json, "gemma3_text"), (Sizes{8, 8, 0}));
  EXPECT_EQ(windows(json, "gemma2"), (Sizes{8, 0, 8}));  // its stock class does not read the key
  json["_sliding_window_pattern"] = 1;                   // nor does any read this one
  EXPECT_EQ(windows(json, "gemma3_text"), (Sizes{8, 8, 0}));
}

TEST(Windows, AreOffWhereTheyAreNullAndTheFamilysWhereTheyAreAbsent) {
  EXPECT_EQ(windows(with(three_layers(), "sliding_window", nullptr), "gemma2"), (Sizes{0, 0, 0}));
  EXPECT_EQ(windows(three_layers(), "gemma2"), (Sizes{4096, 0, 4096}));
  EXPECT_EQ(windows(with(three_layers(), "sliding_window", 8), "llama"), (Sizes{0, 0, 0}));
}

TEST(Windows, FollowTheLayerTypesBeforeAnyRule) {
  const char* full = "full_attention";
  const char* slides = "sliding_attention";
  Json json = with(three_layers(), "sliding_window", 8);
  json["layer_types"] = {full, slides, slides};
  EXPECT_EQ(windows(json, "gemma2"), (Sizes{0, 8, 8}));
  expect_refused(with(json, "layer_types", {full, slides}), "a list of 3 strings", "gemma2");
  expect_refused(with(json, "layer_types", {full, 1, full}), "'layer_types' holds 1", "gemma2");
  expect_refused(with(json, "sliding_window", nullptr),
                 "layer_types[1] is sliding_attention but no sliding_window is in force", "gemma2");
  expect_refused(with(json, "sliding_window", 0), "'sliding_window' is 0", "gemma2");
  expect_refused(with(json, "layer_types", {full, full, "chunked_attention"}),
                 "layer_types holds 'chunked_attention'", "gemma2", ErrorKind::Unsupported);
}

Json mixture() {
  Json json = with(three_layers(), "num_experts", 6);
  json["num_key_value_heads"] = 4;
  json["moe_intermediate_size"] = 10;
  json["shared_expert_intermediate_size"] = 14;
  return json;
}

TEST(Experts, AreInEveryLayerThatTheStepAndTheListOfDenseOnesLeave) {
  const auto experts = [](const Json& json) {
    Sizes counts;
    for (const LayerShape& layer : read(json, "qwen2_moe").layers) counts.push_back(layer.experts);
    return counts;
  };
  EXPECT_EQ(experts(mixture()), (Sizes{6, 6, 6}));
  EXPECT_EQ(experts(with(mixture(), "decoder_sparse_step", 2)), (Sizes{0, 6, 0}));
  EXPECT_EQ(experts(with(mixture(), "mlp_only_layers", {0, 2})), (Sizes{0, 6, 0}));
  EXPECT_EQ(experts(with(mixture(), "layer_num_experts", {6, 5, 1})), (Sizes{6, 5, 1}));
}

TEST(Experts, HaveWidthsOfTheirOwn) {
  const Json json = with(mixture(), "mlp_only_layers", {0});
  const Shapes layers = read(json, "qwen2_moe").layers;
  EXPECT_EQ(layers[0].intermediate_size, 24);
  EXPECT_EQ(layers[0].shared_intermediate_size, 0);
  EXPECT_EQ(layers[1].intermediate_size, 10);
  EXPECT_EQ(layers[1].shared_intermediate_size, 14);
  const Shapes cut =
      read(with(json, "layer_shared_intermediate_size", {0, 3, 14}), "qwen2_moe").layers;
  EXPECT_EQ(cut[1].shared_intermediate_size, 3);
  const Json mixtral = with(with(three_layers(), "num_local_experts", 8), "num_key_value_heads", 2);
  EXPECT_EQ(read(mixtral, "mixtral").layers[2],
            (LayerShape{.num_attention_heads = 4,
                        .num_key_value_heads = 2,
                        .intermediate_size = 24,  // has no width besides
                        .experts = 8}));
}

TEST(Experts, AreCountedUnderEitherName) {
  for (const char* family : {"qwen2_moe", "qwen3_moe", "mixtral"}) {
    Json json = mixture();
    EXPECT_EQ(read(json, family).layers[0].experts, 6) << family;
    json["num_local_experts"] = 6;
    EXPECT_EQ(read(json, family).layers[0].experts, 6) << family;
    json.erase("num_experts");
    EXPECT_EQ(read(json, family).layers[0].experts, 6) << family;
    json["num_experts"] = 5;
    expect_refused(json, "two names of the same size", family);
  }
}

TEST(Experts, AreChosenAsManyAtATimeAsTheStockClassDoesUnlessTheConfigSaysOtherwise) {
  EXPECT_EQ(read(mixture(), "qwen2_moe").experts_per_token, 4);
  EXPECT_EQ(read(mixture(), "mixtral").experts_per_token, 2);
  EXPECT_EQ(read(mixture(), "qwen3_moe").experts_per_token, 6);  // 8, but there are no more
  EXPECT_EQ(read(with(mixture(), "num_experts", 1), "qwen2_moe").experts_per_token, 1);
  EXPECT_EQ(read(with(mixture(), "num_experts_per_tok", 6), "qwen2_moe").experts_per_token, 6);
  EXPECT_FALSE(read(mixture(), "qwen2_moe").renormalised_router);
  EXPECT_TRUE(read(with(mixture(), "norm_topk_prob", true), "qwen2_moe").renormalised_router);
}

TEST(Experts, AreRefusedByNameWhereTheyMakeNoSense) {
  const auto refuse = [](const char* key, const Json& value, const std::string& part) {
    expect_refused(with(mixture(), key, value), part, "qwen2_moe");
  };
  refuse("num_experts_per_tok", 7, "'num_experts_per_tok' is 7, expected 1 to 6");
  refuse("num_experts_per_tok", 0, "'num_experts_per_tok' is 0");
  refuse("num_experts", nullptr, "'num_experts' is missing");
  refuse("moe_intermediate_size", 0, "'moe_intermediate_size' is 0");
  refuse("shared_expert_intermediate_size", nullptr,
         "'shared_expert_intermediate_size' is missing");
  refuse("decoder_sparse_step", 0, "'decoder_sparse_step' is 0");
  refuse("mlp_only_layers", 1, "mlp_only_layers is 1, expected a list");
  refuse("mlp_only_layers", {0, "1"}, "mlp_only_layers holds \"1\", expected layer numbers");
}

}  // namespace
}  // namespace prunus::test::config_layers_test
