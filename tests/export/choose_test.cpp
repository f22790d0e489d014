#include "prunus/export/choose.h"

#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::choose_test {
namespace {

ModelConfig uneven() {
  ModelConfig config = tiny_model({}).config();
  config.layers[1].intermediate_size -= 2;
  return config;
}

TEST(ChooseForm, AUniformModelIsStock) {
  EXPECT_EQ(choose_form("hf", "", tiny_model({}).config()).name, "stock");
}

TEST(ChooseForm, SaysWhyAFormCannotHoldAModelAndWhichCan) {
  expect_error(ErrorKind::Unsupported, "layers of different sizes",
               [] { choose_form("hf", "stock", uneven()); });
}

TEST(ChooseForm, NamesTheNearestKnownWord) {
  const ModelConfig config = tiny_model({}).config();
  expect_error(ErrorKind::InvalidArgument, "did you mean 'stock'",
               [&] { choose_form("hf", "stok", config); });
  expect_error(ErrorKind::InvalidArgument, "--format 'onnx' is not known",
               [&] { choose_form("onnx", "", config); });
}

TEST(LegalityTable, NamesTheFormThatIsMadeForTheProgram) {
  const std::map<std::string, std::string> expected{
      {"transformers", "--format hf --form remote-code"},
      {"vLLM", "--format hf --form deci-lm"},
      {"llama.cpp", "--format gguf --form deci"}};
  for (const Json& row : legality_table(uneven())) {
    if (row.at("legal") == true || row.at("form") != "stock") continue;
    EXPECT_EQ(row.at("alternative"), expected.at(row.at("software").get<std::string>()));
  }
}

// Its graph normalises q and k, so a Llama's cannot be written as one.
TEST(LegalityTable, OpenelmIsForModelsWithNormsOfQAndK) {
  for (const Json& row : legality_table(tiny_model({}).config())) {
    if (row.at("form") != "openelm") continue;
    EXPECT_EQ(row.at("legal"), false) << row;
  }
}

// Blocks of DeciLM see everything; that the first layer does is not enough.
TEST(LegalityTable, DeciLmHasNoWindowsInAnyLayer) {
  // A Qwen2 whose heads do not fill the hidden size is written as a Llama.
  ModelConfig config = open_model(source_path("tests/model/golden/qwen2_sliding")).config();
  for (LayerShape& layer : config.layers) {
    layer.num_attention_heads = 2;
    layer.num_key_value_heads = 1;
  }
  EXPECT_FALSE(config.layers[0].sliding_window || !config.layers[1].sliding_window);
  const auto legal = [&] {
    for (const Json& row : legality_table(config)) {
      if (row.at("form") == "deci-lm" && row.at("software") == "vLLM")
        return row.at("legal") == true;
    }
    return false;
  };
  EXPECT_FALSE(legal());
  for (LayerShape& layer : config.layers) layer.sliding_window.reset();
  EXPECT_TRUE(legal());
}

TEST(LegalityTable, HasARowForEachFormAndProgram) {
  for (const ModelConfig& config : {tiny_model({}).config(), uneven()}) {
    const Json table = legality_table(config);
    size_t answers = 0;
    for (const OutputForm* form : forms::all()) answers += form->answers(config).size();
    ASSERT_EQ(table.size(), answers);
    for (const Json& row : table) {
      EXPECT_TRUE(row.contains(row.at("legal") == true ? "how" : "why")) << row;
    }
  }
}

}  // namespace
}  // namespace prunus::test::choose_test
