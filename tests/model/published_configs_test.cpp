// config.json of well-known models, as they were published (tests/model/configs/README.md): what
// each is taken for, or why it is refused. Sizes are those of stock transformers' configuration
// classes (tools/make_published_configs.py), but for baichuan and chatglm, which it has not.
#include <algorithm>
#include <filesystem>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/model/config.h"
#include "prunus/model/text_part.h"

#include "support/paths.h"

namespace prunus::test::published_configs_test {
namespace {

const std::string kFolder = source_path("tests/model/configs/");

struct Sizes {
  int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, positions;
  bool operator==(const Sizes&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Sizes& sizes) {
  return out << sizes.hidden << " wide, " << sizes.layers << " layers, " << sizes.heads << "/"
             << sizes.kv_heads << " heads of " << sizes.head_dim << ", ffn " << sizes.ffn
             << ", vocab " << sizes.vocab << ", positions " << sizes.positions;
}

struct Accepted {
  std::string file;
  std::string family;
  Sizes sizes;
  bool tied = false;
  std::string passed_over = "";  ///< names in the file's order, sorted here
};

const Accepted kAccepted[] = {
    {.file = "bloom_560m",
     .family = "bloom",
     .sizes = {1024, 24, 16, 16, 64, 4096, 250880, 2048},
     .tied = true},
    {.file = "codellama_7b",
     .family = "llama",
     .sizes = {4096, 32, 32, 32, 128, 11008, 32016, 16384},
     .tied = false},
    {.file = "deepseek_llm_7b_base",
     .family = "llama",
     .sizes = {4096, 30, 32, 32, 128, 11008, 102400, 4096},
     .tied = false},
    {.file = "gemma2_2b",
     .family = "gemma2",
     .sizes = {2304, 26, 8, 4, 256, 9216, 256000, 8192},
     .tied = true},
    {.file = "gemma3_270m",
     .family = "gemma3_text",
     .sizes = {640, 18, 4, 1, 256, 2048, 262144, 32768},
     .tied = true},
    {.file = "gemma3_4b_it",
     .family = "gemma3_text",
     .sizes = {2560, 34, 8, 4, 256, 10240, 262208, 131072},
     .tied = true},
    {.file = "gemma_2b",
     .family = "gemma",
     .sizes = {2048, 18, 8, 1, 256, 16384, 256000, 8192},
     .tied = true},
    {.file = "glm4_9b_0414",
     .family = "glm4",
     .sizes = {4096, 40, 32, 2, 128, 13696, 151552, 32768},
     .tied = false},
    {.file = "gpt2",
     .family = "gpt2",
     .sizes = {768, 12, 12, 12, 64, 3072, 50257, 1024},
     .tied = true},
    {.file = "llama2_70b",
     .family = "llama",
     .sizes = {8192, 80, 64, 8, 128, 28672, 32000, 4096},
     .tied = false},
    {.file = "llama2_7b_chat",
     .family = "llama",
     .sizes = {4096, 32, 32, 32, 128, 11008, 32000, 4096},
     .tied = false},
    {.file = "llama3.1_8b_instruct",
     .family = "llama",
     .sizes = {4096, 32, 32, 8, 128, 14336, 128256, 131072},
     .tied = false},
    {.file = "llama3.2_1b",
     .family = "llama",
     .sizes = {2048, 16, 32, 8, 64, 8192, 128256, 131072},
     .tied = true},
    {.file = "llama3.2_3b_instruct",
     .family = "llama",
     .sizes = {3072, 28, 24, 8, 128, 8192, 128256, 131072},
     .tied = true},
    {.file = "llama3_8b",
     .family = "llama",
     .sizes = {4096, 32, 32, 8, 128, 14336, 128256, 8192},
     .tied = false},
    {.file = "llama_7b",
     .family = "llama",
     .sizes = {4096, 32, 32, 32, 128, 11008, 32000, 2048},
     .tied = false,
     .passed_over = "max_sequence_length"},
    {.file = "llava_1.5_7b",
     .family = "llama",
     .sizes = {4096, 32, 32, 32, 128, 11008, 32064, 4096},
     .tied = false},
    {.file = "mistral_7b_v0.1",
     .family = "mistral",
     .sizes = {4096, 32, 32, 8, 128, 14336, 32000, 32768},
     .tied = false},
    {.file = "mistral_7b_v0.3",
     .family = "mistral",
     .sizes = {4096, 32, 32, 8, 128, 14336, 32768, 32768},
     .tied = false},
    {.file = "mistral_nemo_12b",
     .family = "mistral",
     .sizes = {5120, 40, 32, 8, 128, 14336, 131072, 1024000},
     .tied = false},
    {.file = "mistral_small_3.1_24b",
     .family = "mistral",
     .sizes = {5120, 40, 32, 8, 128, 32768, 131072, 131072},
     .tied = false},
    {.file = "mixtral_8x7b",
     .family = "mixtral",
     .sizes = {4096, 32, 32, 8, 128, 14336, 32000, 32768},
     .tied = false},
    {.file = "olmo2_7b",
     .family = "olmo2",
     .sizes = {4096, 32, 32, 32, 128, 11008, 100352, 4096},
     .tied = false},
    {.file = "opt_125m",
     .family = "opt",
     .sizes = {768, 12, 12, 12, 64, 3072, 50272, 2048},
     .tied = true},
    {.file = "phi3.5_mini",
     .family = "phi3",
     .sizes = {3072, 32, 32, 32, 96, 8192, 32064, 131072},
     .tied = false,
     .passed_over = "attention_bias, auto_map"},
    {.file = "phi3_mini_4k",
     .family = "phi3",
     .sizes = {3072, 32, 32, 32, 96, 8192, 32064, 4096},
     .tied = false,
     .passed_over = "attention_bias, auto_map"},
    {.file = "phi4_mini",
     .family = "phi3",
     .sizes = {3072, 32, 24, 8, 128, 8192, 200064, 131072},
     .tied = true,
     .passed_over =
         "attention_bias, auto_map, full_attn_mod, interpolate_factor, lm_head_bias, mlp_bias"},
    {.file = "pythia_160m",
     .family = "gpt_neox",
     .sizes = {768, 12, 12, 12, 64, 3072, 50304, 2048},
     .tied = false},
    {.file = "qwen1.5_7b",
     .family = "qwen2",
     .sizes = {4096, 32, 32, 32, 128, 11008, 151936, 32768},
     .tied = false},
    {.file = "qwen1.5_moe_a2.7b",
     .family = "qwen2_moe",
     .sizes = {2048, 24, 16, 16, 128, 1408, 151936, 8192},
     .tied = false},
    {.file = "qwen2.5_7b_instruct",
     .family = "qwen2",
     .sizes = {3584, 28, 28, 4, 128, 18944, 152064, 32768},
     .tied = false},
    {.file = "qwen2.5_vl_3b",
     .family = "qwen2",
     .sizes = {2048, 36, 16, 2, 128, 11008, 151936, 128000},
     .tied = true},
    {.file = "qwen2_0.5b",
     .family = "qwen2",
     .sizes = {896, 24, 14, 2, 64, 4864, 151936, 131072},
     .tied = true},
    {.file = "qwen2_vl_2b",
     .family = "qwen2",
     .sizes = {1536, 28, 12, 2, 128, 8960, 151936, 32768},
     .tied = true},
    {.file = "qwen3_0.6b",
     .family = "qwen3",
     .sizes = {1024, 28, 16, 8, 128, 3072, 151936, 40960},
     .tied = true},
    {.file = "qwen3_30b_a3b",
     .family = "qwen3_moe",
     .sizes = {2048, 48, 32, 4, 128, 768, 151936, 40960},
     .tied = false},
    {.file = "qwen3_8b",
     .family = "qwen3",
     .sizes = {4096, 36, 32, 8, 128, 12288, 151936, 40960},
     .tied = false},
    {.file = "qwen3_vl_4b",
     .family = "qwen3",
     .sizes = {2560, 36, 32, 8, 128, 9728, 151936, 262144},
     .tied = true},
    {.file = "smollm2_135m",
     .family = "llama",
     .sizes = {576, 30, 9, 3, 64, 1536, 49152, 8192},
     .tied = true,
     .passed_over = "is_llama_config, rope_interleaved"},
    {.file = "smollm2_135m_from_gguf",
     .family = "llama",
     .sizes = {576, 30, 9, 3, 64, 1536, 49152, 8192},
     .tied = true,
     .passed_over = "_model_name_or_path"},
    {.file = "smollm2_135m_instruct",
     .family = "llama",
     .sizes = {576, 30, 9, 3, 64, 1536, 49152, 8192},
     .tied = true,
     .passed_over = "is_llama_config, rope_interleaved, transformers.js_config"},
    {.file = "smolvlm_256m",
     .family = "llama",
     .sizes = {576, 30, 9, 3, 64, 1536, 49280, 8192},
     .tied = false,
     .passed_over = "_flash_attn_2_enabled, is_llama_config, neftune_noise_alpha, "
                    "perceiver_config, pixel_shuffle_factor, qk_layer_norms, rope_interleaved, "
                    "transformers.js_config, use_resampler"},
    {.file = "tinyllama_1.1b_chat",
     .family = "llama",
     .sizes = {2048, 22, 32, 4, 64, 5632, 32000, 2048},
     .tied = false},
    {.file = "vicuna_7b_v1.5",
     .family = "llama",
     .sizes = {4096, 32, 32, 32, 128, 11008, 32000, 4096},
     .tied = false},
    {.file = "yi_6b",
     .family = "llama",
     .sizes = {4096, 32, 32, 4, 128, 11008, 64000, 4096},
     .tied = false},
    {.file = "baichuan2_7b_base",
     .family = "baichuan",
     .sizes = {4096, 32, 32, 32, 128, 11008, 125696, 4096},
     .tied = false},
    {.file = "glm4_9b_chat_remote",
     .family = "chatglm",
     .sizes = {4096, 40, 32, 2, 128, 13696, 151552, 131072},
     .tied = false},
};

struct Refused {
  std::string file;
  ErrorKind kind;
  std::string message;
};

const Refused kRefused[] = {
    {"deepseek_v3", ErrorKind::Unsupported, "model_type 'deepseek_v3' is not supported; known: "},
    {"falcon_7b_remote", ErrorKind::Unsupported,
     "auto_map names code that comes with the model, which Prunus does not run"},
    {"llama4_scout", ErrorKind::Unsupported, "model_type 'llama4' is not supported"},
    {"opt_350m", ErrorKind::Unsupported,
     "word_embed_proj_dim 512 is not hidden_size 1024: a projection between embedding and layers"},
    {"smollm3_3b", ErrorKind::Unsupported, "model_type 'smollm3' is not supported"},
};

Json json_of(const std::string& name) { return read_json(kFolder + name + ".json"); }

Sizes sizes_of(const ModelConfig& config) {
  const LayerShape& layer = config.layers.at(0);
  return {config.hidden_size,        static_cast<int64_t>(config.layers.size()),
          layer.num_attention_heads, layer.num_key_value_heads,
          config.head_dim,           layer.intermediate_size,
          config.vocab_size,         config.max_position_embeddings};
}

std::string sorted_names(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

TEST(PublishedConfigs, AreTakenForWhatTheyAre) {
  for (const Accepted& one : kAccepted) {
    SCOPED_TRACE(one.file);
    const ModelConfig config = parse_config(json_of(one.file), one.file);
    EXPECT_EQ(config.family->model_type, one.family);
    EXPECT_EQ(sizes_of(config), one.sizes);
    EXPECT_EQ(config.tie_word_embeddings, one.tied);
    EXPECT_EQ(sorted_names(config.passed_over), one.passed_over);
  }
}

TEST(PublishedConfigs, AreRefusedForATrueReason) {
  for (const Refused& one : kRefused) {
    SCOPED_TRACE(one.file);
    try {
      parse_config(json_of(one.file), one.file);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), one.kind);
      EXPECT_THAT(error.what(), testing::HasSubstr(one.message));
    }
  }
}

TEST(PublishedConfigs, EveryFileHasItsRow) {
  std::set<std::string> rows, files;
  for (const Accepted& one : kAccepted) rows.insert(one.file);
  for (const Refused& one : kRefused) rows.insert(one.file);
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".json") files.insert(entry.path().stem());
  }
  EXPECT_EQ(rows, files);
  EXPECT_GE(rows.size(), 30U);
}

// What is written of a model keeps its configuration: nothing of the sizes changes on the way.
TEST(PublishedConfigs, AreTheSameAfterRewriting) {
  for (const Accepted& one : kAccepted) {
    SCOPED_TRACE(one.file);
    const Json before = json_of(one.file);
    const ModelConfig config = parse_config(before, one.file);
    const Json after = rewrite_config(before, config);
    const ModelConfig again = parse_config(after, one.file);
    EXPECT_EQ(sizes_of(again), one.sizes);
    EXPECT_EQ(again.tie_word_embeddings, one.tied);
    EXPECT_EQ(again.layers, config.layers);
    EXPECT_EQ(again.rope, config.rope);
    EXPECT_EQ(again.local_rope, config.local_rope);
    EXPECT_EQ(after.at("model_type"), config.family->model_type);
    EXPECT_FALSE(text_part(after, one.file)) << "a multimodal model is written as a text model";
  }
}

TEST(PublishedConfigs, AWarningNamesWhatIsPassedOver) {
  // As the reader met them: neither refused, each named in one line.
  for (const auto& [file, names] :
       {std::pair("smollm2_135m_instruct",
                  "is_llama_config, rope_interleaved, transformers.js_config"),
        std::pair("smollm2_135m_from_gguf", "_model_name_or_path")}) {
    Json json = json_of(file);
    json["seen_only_by"] = "this test";  // a warning is given once a run for the same names
    testing::internal::CaptureStderr();
    parse_config(json, "config.json");
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_THAT(said, testing::HasSubstr(
                          std::string("config.json: passed over, as the stock class of model_type "
                                      "'llama' does not read it: ") +
                          names + ", seen_only_by\n"));
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  }
}

}  // namespace
}  // namespace prunus::test::published_configs_test
