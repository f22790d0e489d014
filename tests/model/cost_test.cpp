// Published figures of real models, from configurations alone. Parameters and MACs: LLM-Pruner,
// arXiv:2305.11627 and its issues; memory of Llama 3.1: huggingface.co/blog/llama31.
#include "prunus/model/cost.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

#include "support/tiny_model.h"

namespace prunus::test::cost_test {
namespace {

ModelConfig parsed(const char* text) { return parse_config(parse_json(text, "test"), "test"); }

ModelConfig llama_7b(const char* hidden_size = "4096") {
  return parsed((std::string(R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": )") +
                 hidden_size + R"(, "head_dim": 128, "intermediate_size": 11008,
                 "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32})")
                    .c_str());
}

ModelConfig llama31_8b() {
  return parsed(R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
      "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": 8, "max_position_embeddings": 131072})");
}

ModelConfig llama31_70b() {
  return parsed(R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 8192,
      "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
      "num_key_value_heads": 8, "max_position_embeddings": 131072})");
}

ModelConfig llama31_405b() {
  return parsed(R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 16384,
      "intermediate_size": 53248, "num_hidden_layers": 126, "num_attention_heads": 128,
      "num_key_value_heads": 8, "max_position_embeddings": 131072})");
}

ModelConfig tinyllama() {
  return parsed(R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 2048,
      "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
      "num_key_value_heads": 4, "max_position_embeddings": 2048})");
}

struct Pruned {
  size_t begin;
  size_t end;
  LayerShape shape;
};

ModelConfig with(ModelConfig config, const Pruned& pruned) {
  for (size_t i = pruned.begin; i < pruned.end; ++i) config.layers[i] = pruned.shape;
  return config;
}

const Pruned kBlock20{4, 30, {24, 24, 8256, {}}};
const Pruned kBlock50{3, 31, {13, 13, 4403, {}}};

// As printed: two digits after the point, in units of 10^9.
std::string giga(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value / 1e9);
  return text;
}

constexpr double kGiB = 1024.0 * 1024 * 1024;

void expect_near_relative(double value, double expected, double tolerance) {
  EXPECT_NEAR(value / expected, 1.0, tolerance) << value << " for " << expected;
}

TEST(Parameters, AreThePublishedCountsDenseAndPruned) {
  EXPECT_EQ(count_parameters(llama_7b()), 6738415616);
  EXPECT_EQ(count_parameters(with(llama_7b(), kBlock20)), 5422977024);
  EXPECT_EQ(count_parameters(llama31_8b()), 8030261248);
  EXPECT_EQ(count_parameters(with(llama31_8b(), {4, 30, {24, 6, 10752, {}}})), 6612586496);
  EXPECT_EQ(count_parameters(tinyllama()), 1100048384);
  EXPECT_EQ(count_parameters(with(tinyllama(), {4, 18, {24, 3, 4224, {}}})), 945907712);
}

TEST(Parameters, AreThePublishedBillionsWhereNoMoreIsPrinted) {
  EXPECT_EQ(giga(count_parameters(llama_7b("3276"))), "5.39");
  EXPECT_EQ(giga(count_parameters(llama_7b("2048"))), "3.37");
  EXPECT_EQ(giga(count_parameters(with(llama_7b(), kBlock50))), "3.35");
}

TEST(Parameters, OfTheRolesAreTheirShapes) {
  const auto roles = parameters_by_role(llama31_8b());
  const auto of = [&](Role role) { return roles[static_cast<size_t>(role)]; };
  EXPECT_EQ(of(Role::EmbedTokens), 128256LL * 4096);
  EXPECT_EQ(of(Role::LmHead), 128256LL * 4096);
  EXPECT_EQ(of(Role::QProj), 32LL * 4096 * 4096);
  EXPECT_EQ(of(Role::KProj), 32LL * 1024 * 4096);
  EXPECT_EQ(of(Role::DownProj), 32LL * 14336 * 4096);
  EXPECT_EQ(of(Role::FinalNorm), 4096);
  EXPECT_EQ(of(Role::QBias), 0);
}

TEST(Parameters, OfATiedHeadCountOnce) {
  const TinySizes sizes{.tied = true};
  const Model model = tiny_model(sizes);
  const auto roles = parameters_by_role(model.config());
  EXPECT_EQ(roles[static_cast<size_t>(Role::EmbedTokens)], 29 * 16);
  EXPECT_EQ(roles[static_cast<size_t>(Role::LmHead)], 0);
  EXPECT_EQ(count_parameters(model.config()), model.parameters());
}

TEST(Parameters, BeyondAnyModelAreRefusedBeforeTheyOverflow) {
  const ModelConfig one = parsed(R"({"model_type": "llama", "vocab_size": 2147483648,
      "hidden_size": 16777216, "intermediate_size": 16777216, "num_hidden_layers": 4096,
      "num_attention_heads": 16777216, "head_dim": 16777216})");
  const ModelConfig sum = parsed(R"({"model_type": "llama", "vocab_size": 1,
      "hidden_size": 1048576, "intermediate_size": 1048576, "num_hidden_layers": 4096,
      "num_attention_heads": 1, "head_dim": 2})");
  for (const ModelConfig& config : {one, sum}) {
    EXPECT_THROW(count_parameters(config), Error);
    EXPECT_THROW(fine_tuning_bytes(config), Error);
    EXPECT_THROW(weight_bytes(config, 16), Error);
  }
}

TEST(LlmPrunerMacs, AreThoseOfThePaperToEveryDigit) {
  EXPECT_EQ(giga(llm_pruner_macs(llama_7b())), "424.02");
  EXPECT_EQ(giga(llm_pruner_macs(with(llama_7b(), kBlock20))), "339.60");
  EXPECT_EQ(giga(llm_pruner_macs(llama_7b("3276"))), "339.36");
  EXPECT_EQ(giga(llm_pruner_macs(llama_7b("2048"))), "212.58");
  EXPECT_EQ(giga(llm_pruner_macs(with(llama_7b(), kBlock50))), "206.59");
}

// Counts the multiplications of the loops that would compute the layer.
Macs counted(const ModelConfig& config, int64_t tokens) {
  Macs macs;
  const auto product = [&](double& count, int64_t rows, int64_t columns) {
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column) ++count;
  };
  const int64_t h = config.hidden_size;
  for (const LayerShape& layer : config.layers) {
    const int64_t queries = layer.num_attention_heads * config.head_dim;
    const int64_t keys = layer.num_key_value_heads * config.head_dim;
    for (const int64_t rows : {queries, keys, keys}) product(macs.projections, rows, h);
    product(macs.projections, h, queries);
    for (int64_t query = 0; query < tokens; ++query)
      for (int64_t key = 0; key <= query; ++key)
        if (!layer.sliding_window || query - key < *layer.sliding_window)
          for (int64_t channel = 0; channel < queries; ++channel) macs.attention += 2;
    for (int matrix = 0; matrix < 3; ++matrix) product(macs.ffn, layer.intermediate_size, h);
  }
  product(macs.head, config.vocab_size, h);
  return macs;
}

TEST(Macs, AreWhatTheLoopsWouldMultiply) {
  for (const int64_t kv_heads : {1, 2, 4}) {
    ModelConfig config =
        tiny_model({.head_dim = 6, .q_heads = 4, .kv_heads = kv_heads, .layers = 3}).config();
    config.layers[1].sliding_window = 5;
    config.layers[2] = {2, 1, 7, 1};
    for (const int64_t tokens : {0, 1, 4, 5, 6, 13}) {
      const Macs macs = count_macs(config, tokens);
      const Macs expected = counted(config, tokens);
      EXPECT_EQ(macs.projections, expected.projections);
      EXPECT_EQ(macs.attention, expected.attention);
      EXPECT_EQ(macs.ffn, expected.ffn);
      EXPECT_EQ(macs.head, expected.head);
      EXPECT_EQ(macs.total(), expected.total());
    }
  }
}

TEST(Macs, OfNegativeTokensMeanNothing) {
  EXPECT_THROW(count_macs(tinyllama(), -1), Error);
  EXPECT_THROW(llm_pruner_macs(tinyllama(), -1), Error);
  EXPECT_THROW(kv_cache_bytes(tinyllama(), -1), Error);
}

TEST(Bytes, OfTheWeightsOfLlama31AreThePublishedOnes) {
  const struct {
    ModelConfig config;
    double fp16, fp8, int4;  // GB
  } cases[] = {
      {llama31_8b(), 16, 8, 4}, {llama31_70b(), 140, 70, 35}, {llama31_405b(), 810, 405, 203}};
  for (const auto& one : cases) {
    expect_near_relative(weight_bytes(one.config, 16) / 1e9, one.fp16, 0.02);
    expect_near_relative(weight_bytes(one.config, 8) / 1e9, one.fp8, 0.02);
    expect_near_relative(weight_bytes(one.config, 4) / 1e9, one.int4, 0.02);
  }
  EXPECT_EQ(weight_bytes(llama31_8b(), 16), 16060522496.0);
}

TEST(Bytes, OfTheKvCacheOfLlama31AreThePublishedOnes) {
  ModelConfig with_16_heads = llama31_405b();  // which the published 405B had
  for (LayerShape& layer : with_16_heads.layers) layer.num_key_value_heads = 16;
  const struct {
    ModelConfig config;
    double at_1k, at_16k, at_128k;  // GiB at 1024, 16,000 and 128,000 tokens
  } cases[] = {{llama31_8b(), 0.125, 1.95, 15.62},
               {llama31_70b(), 0.313, 4.88, 39.06},
               {with_16_heads, 0.984, 15.38, 123.05},
               {llama31_405b(), 0.984 / 2, 15.38 / 2, 123.05 / 2}};
  for (const auto& one : cases) {
    EXPECT_NEAR(kv_cache_bytes(one.config, 1024) / kGiB, one.at_1k, 0.00051);
    EXPECT_NEAR(kv_cache_bytes(one.config, 16000) / kGiB, one.at_16k, 0.0051);
    EXPECT_NEAR(kv_cache_bytes(one.config, 128000) / kGiB, one.at_128k, 0.0051);
  }
  EXPECT_EQ(kv_cache_bytes(llama31_8b(), 128000, 8) / kGiB, 15.625 / 2);
}

TEST(Bytes, OfTheKvCacheFollowEachLayer) {
  ModelConfig config = tiny_model({.layers = 3}).config();  // 4 KV heads of 4 channels
  config.layers[1].num_key_value_heads = 2;
  config.layers[2].sliding_window = 10;
  EXPECT_EQ(kv_cache_bytes(config, 8), 2.0 * 2 * 4 * (4 * 8 + 2 * 8 + 4 * 8));
  EXPECT_EQ(kv_cache_bytes(config, 100), 2.0 * 2 * 4 * (4 * 100 + 2 * 100 + 4 * 10));
  EXPECT_EQ(kv_cache_bytes(config, 0), 0.0);
}

TEST(FineTuning, OfLlama31TakesThePublishedMemory) {
  const struct {
    ModelConfig config;
    double full, lora, qlora;  // GB
  } cases[] = {
      {llama31_8b(), 60, 16, 6}, {llama31_70b(), 500, 160, 48}, {llama31_405b(), 3250, 950, 250}};
  for (const auto& one : cases) {
    const FineTuningBytes bytes = fine_tuning_bytes(one.config);
    expect_near_relative(bytes.full_bf16 / 1e9, one.full, 0.15);
    expect_near_relative(bytes.lora / 1e9, one.lora, 0.15);
    expect_near_relative(bytes.qlora / 1e9, one.qlora, 0.15);
    EXPECT_EQ(bytes.full_mixed, 2 * bytes.full_bf16);
  }
}

TEST(FineTuning, OfLlama31AddsUpByHand) {
  // A layer: q, o 2·(4096 + 4096); k, v 2·(1024 + 4096); gate, up, down 3·(14336 + 4096).
  constexpr double kAdapters = 32.0 * 16 * (2 * 8192 + 2 * 5120 + 3 * 18432);
  EXPECT_EQ(lora_parameters(llama31_8b(), 16), static_cast<int64_t>(kAdapters));
  EXPECT_EQ(lora_parameters(llama31_8b(), 1) * 16, static_cast<int64_t>(kAdapters));
  const FineTuningBytes bytes = fine_tuning_bytes(llama31_8b(), 16);
  EXPECT_EQ(bytes.full_bf16, 8.0 * 8030261248);
  EXPECT_EQ(bytes.lora, 2.0 * 8030261248 + 16 * kAdapters);
  // 32 layers of 218,103,808 in matrices; embedding, head, 65 norms.
  constexpr double kMatrices = 32.0 * 218103808;
  constexpr double kRest = 2.0 * 128256 * 4096 + 65.0 * 4096;
  EXPECT_EQ(bytes.qlora, kMatrices * kNf4Bits / 8 + 2 * kRest + 16 * kAdapters);
  EXPECT_NEAR(kNf4Bits, 4.127, 0.0005);
}

TEST(FineTuning, NeedsARank) {
  EXPECT_THROW(lora_parameters(tinyllama(), 0), Error);
  EXPECT_THROW(lora_parameters(tinyllama(), int64_t{1} << 40), Error);
}

}  // namespace
}  // namespace prunus::test::cost_test
