#include "prunus/export/stock_class.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/graph/shrink.h"

#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::stock_class_test {
namespace {

// Two of four heads in both layers: they no longer fill hidden_size.
Model half_the_heads(const Model& model) {
  return shrink(model, {{AxisLabel::KvGroup, 0, {0, 2}}, {AxisLabel::KvGroup, 1, {1, 2}}});
}

TEST(StockClass, IsTheModelsOwnWhereBothProgramsOpenIt) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    const StockClass stock = stock_class(tiny_model({.family = family}).config());
    EXPECT_FALSE(stock.renamed) << family;
    EXPECT_TRUE(stock.obstacles.empty() && stock.vllm.empty()) << family;
  }
}

TEST(StockClass, WritesAQwen2WithoutSomeHeadsAsALlama) {
  const TinySizes sizes{.family = "qwen2"};
  const Model small = half_the_heads(tiny_model(sizes));
  const StockClass stock = stock_class(small.config());
  ASSERT_TRUE(stock.renamed);
  EXPECT_TRUE(stock.obstacles.empty() && stock.vllm.empty());
  const Model llama = in_stock_class(small, stock);
  EXPECT_EQ(llama.source().read(llama.tensor(Role::OBias, 1)).abs().max().item<float>(), 0);
  const at::Tensor ids = random_ids(small, 2, 7);
  EXPECT_TRUE(at::equal(logits_of(llama, ids), logits_of(small, ids)));
  Json source = tiny_config(sizes);
  source.update({{"use_sliding_window", false}, {"max_window_layers", 2}, {"sliding_window", 8}});
  const Json json = stock_config(source, stock);
  EXPECT_EQ(json.at("model_type"), "llama");
  EXPECT_EQ(json.at("architectures"), Json({"LlamaForCausalLM"}));
  EXPECT_EQ(json.at("attention_bias"), true);
  for (const char* key : {"use_sliding_window", "max_window_layers", "sliding_window"}) {
    EXPECT_FALSE(json.contains(key)) << key;
  }
  const ModelConfig read = parse_config(json, "c");
  EXPECT_EQ(read.layers, stock.config.layers);
  EXPECT_EQ(read.biases, stock.config.biases);
  EXPECT_EQ(read.max_position_embeddings, small.config().max_position_embeddings);
}

TEST(StockClass, StaysWhereOnlyOneOfThemOpensEither) {
  // Three heads do not divide 16: a llama with biases would open nowhere.
  const Model model = tiny_model({.family = "qwen2"});
  const Model small =
      shrink(model, {{AxisLabel::KvGroup, 0, {0, 1, 2}}, {AxisLabel::KvGroup, 1, {0, 1, 2}}});
  const StockClass stock = stock_class(small.config());
  EXPECT_FALSE(stock.renamed);
  EXPECT_TRUE(stock.obstacles.empty());
  ASSERT_EQ(stock.vllm.size(), 1u);
  EXPECT_NE(stock.vllm[0].find("takes hidden_size / heads for head_dim"), std::string::npos);
}

TEST(StockClass, WritesAMistralWithAddedBiasesAsALlama) {
  ModelConfig config = tiny_model({.family = "mistral"}).config();
  for (LayerShape& layer : config.layers) layer.sliding_window.reset();
  config.biases = {Role::OBias, Role::DownBias};
  const StockClass stock = stock_class(config);
  ASSERT_TRUE(stock.renamed);
  EXPECT_EQ(stock.config.biases.size(), 7u);
  config.layers[1].sliding_window = 8;
  EXPECT_FALSE(stock_class(config).renamed);  // Llama has no window
}

}  // namespace
}  // namespace prunus::test::stock_class_test
