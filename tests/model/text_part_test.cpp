// Multimodal models: their language model alone. Goldens by tools/make_multimodal_goldens.py.
#include "prunus/model/text_part.h"

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/io/checkpoint.h"
#include "prunus/io/hf_directory.h"
#include "prunus/model/end_tokens.h"
#include "prunus/model/model.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::text_part_test {
namespace {

const std::string kGoldens = source_path("tests/model/multimodal/");

at::Tensor golden_ids(const std::string& dir) {
  const Json golden = read_json(dir + "/golden.json");
  return at::tensor(golden.at("input_ids").at(0).get<std::vector<int64_t>>(), at::kLong)
      .unsqueeze(0);
}

class MultimodalGolden : public testing::TestWithParam<std::string> {
 protected:
  const std::string dir_ = kGoldens + GetParam();
};

TEST_P(MultimodalGolden, TheLanguageModelsLogitsAreThoseOfTheWholeModelOnText) {
  const Model model = open_model(dir_);
  const auto file = SafetensorsFile::open(dir_ + "/golden.safetensors");
  const at::Tensor expected = file->view(*file->find("logits"));
  EXPECT_LT(relative_error(logits_of(model, golden_ids(dir_)), expected), 1e-5);
}

TEST_P(MultimodalGolden, WhatIsWrittenIsATextModelOfTheFamily) {
  const Model model = open_model(dir_);
  const Json before = read_config(dir_);
  const Json after = rewrite_config(before, model.config());
  EXPECT_FALSE(text_part(after, "after"));
  EXPECT_EQ(after.at("model_type"), model.config().family->model_type);
  EXPECT_EQ(after.at("architectures"), Json::array({model.config().family->architecture}));
  for (const char* key : {"text_config", "vision_config", "image_token_id", "image_token_index"}) {
    EXPECT_FALSE(after.contains(key)) << key;
  }
  EXPECT_EQ(rewrite_config(after, parse_config(after, "after")), after);
}

TEST_P(MultimodalGolden, OnlyTensorsOfOtherPartsArePassedOver) {
  const Checkpoint checkpoint = Checkpoint::open(dir_);
  size_t others = 0, own = 0;
  for (const std::string& name : checkpoint.names()) {
    const bool image = name.find("vision") != name.npos || name.find("visual") != name.npos ||
                       name.find("projector") != name.npos || name.find("connector") != name.npos ||
                       name.find("image") != name.npos;
    EXPECT_EQ(text_tensor_name(name).empty(), image) << name;
    (image ? others : own) += 1;
  }
  EXPECT_GT(others, 0U);
  EXPECT_EQ(own, open_model(dir_).tensors().size());
}

INSTANTIATE_TEST_SUITE_P(Multimodal, MultimodalGolden, testing::ValuesIn(folders_in(kGoldens)),
                         [](const auto& one) { return one.param; });

TEST(TextPart, EveryMultimodalFamilyHasAGolden) {
  std::set<std::string> seen;
  for (const std::string& name : folders_in(kGoldens)) {
    seen.insert(read_config(kGoldens + name).at("model_type").get<std::string>());
  }
  for (const Multimodal& one : multimodal_families()) {
    EXPECT_TRUE(seen.contains(std::string(one.model_type))) << one.model_type;
  }
}

Json llava() {
  return {{"model_type", "llava"},
          {"eos_token_id", 2},
          {"torch_dtype", "float16"},
          {"text_config", {{"model_type", "llama"}, {"vocab_size", 320}}},
          {"vision_config", Json::object()}};
}

TEST(TextPart, SizesThatAreLeftToTheStockClassAreWrittenOut) {
  const auto part = text_part(llava(), "c");
  ASSERT_TRUE(part);
  const Json& text = part->config();
  EXPECT_EQ(text.at("hidden_size"), 4096);  // LlamaConfig's
  EXPECT_EQ(text.at("intermediate_size"), 11008);
  EXPECT_EQ(text.at("num_hidden_layers"), 32);
  EXPECT_EQ(text.at("vocab_size"), 320);
  EXPECT_EQ(text.at("eos_token_id"), 2);
  EXPECT_EQ(text.at("torch_dtype"), "float16");
  EXPECT_EQ(text.at("architectures"), Json::array({"LlamaForCausalLM"}));
}

TEST(TextPart, TheOuterConfigurationSaysWhetherTheHeadIsTied) {
  for (const bool outer : {false, true}) {
    Json json = llava();
    json["text_config"]["tie_word_embeddings"] = !outer;
    EXPECT_EQ(text_part(json, "c")->config().at("tie_word_embeddings"), !outer);
    json["tie_word_embeddings"] = outer;
    EXPECT_EQ(text_part(json, "c")->config().at("tie_word_embeddings"), outer);
  }
}

TEST(TextPart, OtherTypesAndBrokenFilesAreNamed) {
  EXPECT_FALSE(text_part({{"model_type", "llama"}}, "c"));
  EXPECT_FALSE(text_part(Json::array(), "c"));
  Json json = llava();
  json["text_config"]["model_type"] = "cohere";
  expect_error(ErrorKind::Unsupported,
               "the language model of this llava model is of type 'cohere', which is not supported",
               [&] { parse_config(json, "c"); });
  json["text_config"] = 7;
  expect_error(ErrorKind::Corrupt, "'text_config' is number", [&] { parse_config(json, "c"); });
  json.erase("text_config");
  expect_error(ErrorKind::Corrupt, "'text_config' is missing", [&] { parse_config(json, "c"); });
  Json qwen = read_config(kGoldens + "qwen2_vl");
  qwen.erase("num_key_value_heads");
  expect_error(ErrorKind::Corrupt, "'num_key_value_heads' of the language model is missing",
               [&] { parse_config(qwen, "c"); });
}

TEST(TextPart, AScaledRopeStaysOneForImages) {
  Json qwen = read_config(kGoldens + "qwen2_vl");
  qwen["rope_scaling"] = {{"type", "yarn"},
                          {"factor", 4.0},
                          {"original_max_position_embeddings", 16},
                          {"mrope_section", {1, 1, 2}}};
  const Rope rope = parse_config(qwen, "c").rope;
  EXPECT_EQ(rope.kind, Rope::Kind::Yarn);
  EXPECT_EQ(rope.factor, 4.0);
}

}  // namespace
}  // namespace prunus::test::text_part_test
