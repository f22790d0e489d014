#include "prunus/model/gguf_config.h"

#include <bit>
#include <filesystem>
#include <map>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"

#include "io/gguf_fixture.h"
#include "support/expect_error.h"

namespace prunus::test::gguf_config_test {
namespace {

using testing_io::entry;
using testing_io::u32;
using testing_io::u64;

std::string whole(const std::string& key, uint64_t value) { return entry(key, 4, u32(value)); }
std::string real(const std::string& key, float value) {
  return entry(key, 6, u32(std::bit_cast<uint32_t>(value)));
}
std::string word(const std::string& key, const std::string& value) {
  return entry(key, 8, testing_io::text(value));
}
std::string wholes(const std::string& key, const std::vector<uint64_t>& values) {
  std::string bytes = u32(4) + u64(values.size());
  for (const uint64_t value : values) bytes += u32(value);
  return entry(key, 9, bytes);
}

// The metadata of a Llama of two layers with an embedding of eight rows; what stands in `changes`
// is another entry, or, where it is empty, is missing.
std::string tiny_file(const std::map<std::string, std::string>& changes,
                      const std::string& arch = "llama", const std::vector<float>& factors = {}) {
  std::map<std::string, std::string> entries;
  const auto put = [&](const std::string& made, const std::string& key) { entries[key] = made; };
  put(word("general.architecture", arch), "general.architecture");
  for (const auto& [key, value] : std::map<std::string, uint64_t>{{"block_count", 2},
                                                                  {"context_length", 64},
                                                                  {"embedding_length", 16},
                                                                  {"feed_forward_length", 12},
                                                                  {"attention.head_count", 2}}) {
    put(whole(arch + "." + key, value), key);
  }
  put(real(arch + ".attention.layer_norm_rms_epsilon", 1e-5f), "attention.layer_norm_rms_epsilon");
  for (const auto& [key, made] : changes) entries[key] = made;
  testing_io::GgufParts parts;
  for (const auto& [key, made] : entries) {
    if (!made.empty()) parts.metadata.push_back(made);
  }
  parts.tensors.push_back(testing_io::info("token_embd.weight", {16, 8}, 0, 0));
  parts.data = std::string(16 * 8 * 4, '\0');
  if (!factors.empty()) {
    parts.tensors.push_back(
        testing_io::info("rope_freqs.weight", {factors.size()}, 0, parts.data.size()));
    for (const float factor : factors) parts.data += u32(std::bit_cast<uint32_t>(factor));
  }
  return parts.bytes();
}

Json config_of(const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "gguf_config_test.gguf";
  write_file(path, bytes);
  return gguf_config(*GgufFile::open(path));
}

void refused(ErrorKind kind, const std::string& part,
             const std::map<std::string, std::string>& changes, const std::string& arch = "llama") {
  expect_error(kind, part, [&] { config_of(tiny_file(changes, arch)); });
}

TEST(GgufConfig, SaysEverySizeInTheWordsOfTheStockClass) {
  const Json json = config_of(tiny_file({}));
  EXPECT_EQ(json.at("model_type"), "llama");
  EXPECT_EQ(json.at("architectures"), Json({"LlamaForCausalLM"}));
  EXPECT_EQ(json.at("vocab_size"), 8);
  EXPECT_EQ(json.at("num_key_value_heads"), 2);
  EXPECT_EQ(json.at("head_dim"), 8);
  EXPECT_EQ(json.at("rms_norm_eps"), 1e-5);  // not that of FP32
  EXPECT_EQ(json.at("rope_theta"), 10000.0);
  EXPECT_EQ(json.at("tie_word_embeddings"), true);
}

TEST(GgufConfig, HasListsWhereLayersDiffer) {
  const Json json =
      config_of(tiny_file({{"feed_forward_length", wholes("deci.feed_forward_length", {12, 8})},
                           {"attention.head_count", wholes("deci.attention.head_count", {2, 1})},
                           {"attention.key_length", whole("deci.attention.key_length", 8)}},
                          "deci"));
  EXPECT_EQ(json.at("layer_intermediate_size"), Json({12, 8}));
  EXPECT_EQ(json.at("layer_num_attention_heads"), Json({2, 1}));
  EXPECT_EQ(json.at("layer_num_key_value_heads"), Json({2, 1}));
}

TEST(GgufConfig, HasZerosWhereALayerLacksASubLayer) {
  const auto heads = wholes("deci.attention.head_count", {0, 2});
  const auto ffn = wholes("deci.feed_forward_length", {12, 0});
  const Json json =
      config_of(tiny_file({{"attention.head_count", heads}, {"feed_forward_length", ffn}}, "deci"));
  EXPECT_EQ(json.at("model_type"), "prunus_llama");
  EXPECT_EQ(json.at("layer_num_attention_heads"), Json({0, 2}));
  EXPECT_EQ(json.at("layer_num_key_value_heads"), Json({0, 2}));
  EXPECT_EQ(json.at("layer_intermediate_size"), Json({12, 0}));
  EXPECT_EQ(json.at("head_dim"), 8);  // of 16 by the two heads of the second layer
  refused(ErrorKind::Corrupt, "no layer has attention",
          {{"attention.head_count", wholes("deci.attention.head_count", {0, 0})}}, "deci");
  refused(ErrorKind::Corrupt, "layer 1 has 2 key/value heads and no query heads",
          {{"attention.head_count", wholes("deci.attention.head_count", {2, 0})},
           {"k", wholes("deci.attention.head_count_kv", {2, 2})}},
          "deci");
}

TEST(GgufConfig, FindsThePublishedScalingBehindAListOfFactors) {
  // Llama 3.1's bands by hand, for a base of 10000 and heads of 8: wavelengths 2π·10^i.
  const float middle = [] {
    const double ramp = (1024 / (2 * M_PI * 100) - 1) / 3;
    return static_cast<float>(1 / ((1 - ramp) / 8 + ramp));
  }();
  const Json scaling = config_of(tiny_file({}, "llama", {1, 1, middle, 8})).at("rope_scaling");
  EXPECT_EQ(scaling.at("rope_type"), "llama3");
  EXPECT_EQ(scaling.at("factor"), 8);
  EXPECT_EQ(scaling.at("original_max_position_embeddings"), 1024);
  const Json other = config_of(tiny_file({}, "llama", {1, 2, 1, 4})).at("rope_scaling");
  EXPECT_EQ(other.at("rope_type"), "longrope");
  EXPECT_EQ(other.at("short_factor"), Json({1.0, 2.0, 1.0, 4.0}));
}

TEST(GgufConfig, ReadsLinearScalingAndYarn) {
  const Json linear =
      config_of(tiny_file({{"f", real("llama.rope.scaling.factor", 4)}})).at("rope_scaling");
  EXPECT_EQ(linear, (Json{{"rope_type", "linear"}, {"factor", 4.0}}));
  const Json yarn =
      config_of(tiny_file({{"t", word("llama.rope.scaling.type", "yarn")},
                           {"f", real("llama.rope.scaling.factor", 4)},
                           {"o", whole("llama.rope.scaling.original_context_length", 16)}}))
          .at("rope_scaling");
  EXPECT_EQ(yarn.at("rope_type"), "yarn");
  EXPECT_EQ(yarn.at("original_max_position_embeddings"), 16);
}

TEST(GgufConfig, RefusesMetadataThatIsMissing) {
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length",
        "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    refused(ErrorKind::Corrupt, std::string(key) + "' is missing", {{key, ""}});
  }
  refused(ErrorKind::Corrupt, "general.architecture", {{"general.architecture", ""}});
}

TEST(GgufConfig, RefusesValuesOfTheWrongTypeOrSize) {
  refused(ErrorKind::Corrupt, "block_count", {{"block_count", word("llama.block_count", "2")}});
  refused(ErrorKind::Corrupt, "expected 1 to", {{"block_count", whole("llama.block_count", 0)}});
  refused(ErrorKind::Corrupt, "block_count", {{"block_count", whole("llama.block_count", 5000)}});
  refused(ErrorKind::Corrupt, "one for each of 2 layers",
          {{"feed_forward_length", wholes("llama.feed_forward_length", {1, 2, 3})}});
  refused(ErrorKind::Corrupt, "not a multiple of 3 heads",
          {{"attention.head_count", whole("llama.attention.head_count", 3)}});
  refused(
      ErrorKind::Corrupt, "finite number above 0",
      {{"attention.layer_norm_rms_epsilon", real("llama.attention.layer_norm_rms_epsilon", -1)}});
  refused(ErrorKind::Corrupt, "has 8 rows", {{"v", whole("llama.vocab_size", 9)}});
  refused(ErrorKind::Corrupt, "even number", {{"r", whole("llama.rope.dimension_count", 7)}});
  refused(ErrorKind::Corrupt, "id of one of 8 tokens",
          {{"b", whole("tokenizer.ggml.bos_token_id", 8)}});
}

TEST(GgufConfig, RefusesMathematicsThatItDoesNotKnow) {
  refused(ErrorKind::Unsupported, "architecture 'mamba' is not supported; known: bloom", {},
          "mamba");
  refused(ErrorKind::Unsupported, "'llama.residual_scale' may change the mathematics",
          {{"s", real("llama.residual_scale", 0.5)}});
  refused(ErrorKind::Unsupported, "logit_scale", {{"s", real("llama.logit_scale", 0.5)}});
  refused(ErrorKind::Unsupported,
          "layer 1 has 2 query heads and 0 key/value heads: a matrix in the",
          {{"attention.head_count_kv", wholes("deci.attention.head_count_kv", {2, 0})}}, "deci");
  refused(ErrorKind::Unsupported, "the architecture llama has no layers without attention",
          {{"attention.head_count", wholes("llama.attention.head_count", {2, 0})}});
  refused(ErrorKind::Unsupported, "layer 0 has 2 query heads and 0 feed-forward channels",
          {{"feed_forward_length", wholes("llama.feed_forward_length", {0, 4})}});
  refused(ErrorKind::Unsupported, "heads of two sizes",
          {{"k", whole("llama.attention.value_length", 4)}});
  refused(ErrorKind::Unsupported, "rope.scaling.type",
          {{"t", word("llama.rope.scaling.type", "ntk")}});
  refused(ErrorKind::Unsupported, "turned in part",
          {{"r", whole("llama.rope.dimension_count", 4)}});
  refused(ErrorKind::Unsupported, "expert_count", {{"e", whole("deci.expert_count", 4)}}, "deci");
  refused(ErrorKind::Unsupported, "sliding_window",
          {{"w", whole("olmo2.attention.sliding_window", 4)}}, "olmo2");
  refused(ErrorKind::Unsupported, "expected 'model'", {{"t", word("general.type", "adapter")}});
  refused(ErrorKind::Unsupported, "one part of 3", {{"s", whole("split.count", 3)}});
}

TEST(GgufConfig, PassesOverWhatIsOfNoModel) {
  EXPECT_NO_THROW(config_of(tiny_file({{"a", word("general.author", "somebody")},
                                       {"b", whole("quantize.imatrix.chunks_count", 3)},
                                       {"c", word("tokenizer.ggml.pre", "smollm")}})));
}

}  // namespace
}  // namespace prunus::test::gguf_config_test
