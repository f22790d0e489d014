#include "prunus/export/remote_config.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/io/hf_directory.h"

#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::remote_config_test {
namespace {

void expect_same(const ModelConfig& read, const ModelConfig& meant) {
  EXPECT_EQ(read.family, meant.family);
  EXPECT_EQ(read.layers, meant.layers);
  EXPECT_EQ(read.hidden_size, meant.hidden_size);
  EXPECT_EQ(read.head_dim, meant.head_dim);
  EXPECT_EQ(read.rope_head_dim, meant.rope_head_dim);
  EXPECT_EQ(read.rotary_dim, meant.rotary_dim);
  EXPECT_EQ(read.max_position_embeddings, meant.max_position_embeddings);
  EXPECT_EQ(read.norm_eps, meant.norm_eps);
  EXPECT_EQ(read.biases, meant.biases);
  EXPECT_EQ(read.qk_norm, meant.qk_norm);
  EXPECT_EQ(read.tie_word_embeddings, meant.tie_word_embeddings);
  EXPECT_EQ(read.activation, meant.activation);
  EXPECT_EQ(read.rope, meant.rope);
  EXPECT_EQ(read.local_rope, meant.local_rope);
  EXPECT_EQ(read.embedding_scale, meant.embedding_scale);
  EXPECT_EQ(read.score_divisor, meant.score_divisor);
  EXPECT_EQ(read.attention_softcap, meant.attention_softcap);
  EXPECT_EQ(read.logit_softcap, meant.logit_softcap);
}

class GoldenRemote : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenRemote, IsReadAsWhatWasWritten) {
  const Json source = read_config(golden_dir(GetParam()));
  ModelConfig config = parse_config(source, "c");
  if (!remote_obstacles(config).empty()) return;
  config.layers.back().intermediate_size -= 1;
  expect_same(parse_config(remote_config(source, config), "c"), config);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenRemote, ::testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

TEST(RemoteConfig, HoldsTheFamiliesThatFollowLlama) {
  const auto obstacle = [](const char* golden) {
    const auto all = remote_obstacles(parse_config(read_config(golden_dir(golden)), "c"));
    return all.empty() ? "" : all.front();
  };
  for (const char* golden : {"llama_gqa", "llama_bias", "mistral_sliding", "qwen2_sliding", "qwen3",
                             "gemma", "gemma2", "gemma3_text", "phi3_longrope", "olmo2"}) {
    EXPECT_EQ(obstacle(golden), "") << golden;
  }
  EXPECT_NE(obstacle("gpt2").find("positions but rotary"), std::string::npos);
  EXPECT_NE(obstacle("gpt_neox").find("LayerNorm"), std::string::npos);
  EXPECT_NE(obstacle("mixtral").find("experts"), std::string::npos);
  EXPECT_NE(obstacle("glm").find("pairs of neighbours"), std::string::npos);
  EXPECT_NE(obstacle("baichuan_7b").find("no module"), std::string::npos);
}

TEST(RemoteConfig, SaysWhatIsOddAboutEachFamily) {
  const auto own = [](const char* golden) {
    return decoder_json(parse_config(read_config(golden_dir(golden)), "c"));
  };
  EXPECT_EQ(own("olmo2").at("qk_norm"), "row");
  EXPECT_EQ(own("olmo2").at("norms").at("before_mlp"), nullptr);
  EXPECT_EQ(own("olmo2").at("norms").at("after_mlp"), "post_feedforward_layernorm");
  EXPECT_EQ(own("qwen3").at("qk_norm"), "head");
  EXPECT_EQ(own("qwen3").at("norms").at("before_mlp"), "post_attention_layernorm");
  EXPECT_EQ(own("gemma2").at("norm"), "rms_plus_one");
  EXPECT_TRUE(own("gemma2").at("attention_softcap").is_number());
  EXPECT_EQ(own("phi3").at("fused"), Json({"qkv_proj", "gate_up_proj"}));
  EXPECT_EQ(own("qwen2").at("biases"), Json({"q_proj", "k_proj", "v_proj"}));
}

TEST(RemoteConfig, GivesOnlyTheLayersThatAreSmaller) {
  const Json source = tiny_config({.layers = 3});
  ModelConfig config = parse_config(source, "c");
  config.layers[2].intermediate_size = 8;
  const Json json = remote_config(source, config);
  EXPECT_EQ(json.at("per_layer_config"), Json({{"2", {{"intermediate_size", 8}}}}));
  EXPECT_EQ(json.at("intermediate_size"), 12);
  EXPECT_FALSE(json.contains("layer_intermediate_size"));
  EXPECT_EQ(json.at("rope_parameters").at("rope_type"), "default");
}

TEST(RemoteFiles, AreThoseOfTheSource) {
  const TempDir dir;
  write_remote_files(dir / "");
  for (const char* name : {"modeling_prunus.py", "configuration_prunus.py"}) {
    EXPECT_EQ(read_file(dir / name), read_file(source_path("prunus/export/remote/") + name))
        << name;
  }
  EXPECT_EQ(remote_files().size(), 2u);
}

}  // namespace
}  // namespace prunus::test::remote_config_test
