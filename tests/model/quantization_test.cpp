// Quantised checkpoints. Goldens by tools/make_quantized_goldens.py.
#include "prunus/model/quantization.h"

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/io/checkpoint.h"
#include "prunus/io/hf_directory.h"
#include "prunus/model/model.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::quantization_test {
namespace {

const std::string kGoldens = source_path("tests/model/quantized/");

class QuantizedGolden : public testing::TestWithParam<std::string> {
 protected:
  const std::string dir_ = kGoldens + GetParam();
  const Model model_ = open_model(dir_);
  const std::shared_ptr<SafetensorsFile> golden_ =
      SafetensorsFile::open(dir_ + "/golden.safetensors");
};

TEST_P(QuantizedGolden, EveryWeightIsWhatOtherSoftwareMakesOfIt) {
  int64_t compared = 0;
  for (const TensorInfo& tensor : model_.tensors()) {
    const TensorEntry* entry = golden_->find(tensor.name);
    if (entry == nullptr) continue;
    const at::Tensor weight = model_.source().read(tensor);
    EXPECT_EQ(weight.scalar_type(), at::kBFloat16);
    EXPECT_EQ(model_.source().dtype(tensor), at::kBFloat16);
    EXPECT_TRUE(at::equal(weight, golden_->view(*entry))) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, 14);  // seven projections of two layers
}

TEST_P(QuantizedGolden, LogitsEqualTransformers) {
  const Json ids = read_json(dir_ + "/golden.json").at("input_ids").at(0);
  const at::Tensor input = at::tensor(ids.get<std::vector<int64_t>>(), at::kLong).unsqueeze(0);
  EXPECT_LT(relative_error(logits_of(model_, input), golden_->view(*golden_->find("logits"))),
            1e-5);
}

TEST_P(QuantizedGolden, WhatIsWrittenSaysNothingOfIt) {
  Json before = read_config(dir_);
  before["torch_dtype"] = "float16";
  const Json after = rewrite_config(before, model_.config());
  EXPECT_FALSE(after.contains("quantization_config"));
  EXPECT_EQ(after.at("dtype"), "bfloat16");
  EXPECT_EQ(after.at("torch_dtype"), "bfloat16");
}

INSTANTIATE_TEST_SUITE_P(Quantized, QuantizedGolden, testing::ValuesIn(folders_in(kGoldens)),
                         [](const auto& one) { return one.param; });

Json with(const Json& quantization) {
  Json json = tiny_config({});
  json["quantization_config"] = quantization;
  return json;
}

TEST(Quantization, WhatCannotBeTurnedBackIsRefusedWithWhatToDo) {
  const std::pair<Json, const char*> kCases[] = {
      {{{"quant_method", "gptq"}, {"bits", 4}}, "quantised (gptq)"},
      {{{"quant_method", "awq"}, {"bits", 4}}, "use the model that it was made from"},
      {{{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}}, "dequantize().save_pretrained"},
      {{{"load_in_8bit", true}}, "quantised (bitsandbytes)"},
      {{{"quant_method", "mxfp4"}}, "Mxfp4Config"},
      {{{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}}, "quantised (modelopt, NVFP4)"},
      {{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}},
       "quantised (compressed-tensors, pack-quantized)"},
      {{{"quant_method", "compressed-tensors"},
        {"format", "dense"},
        {"sparsity_config", {{"format", "sparse-24-bitmask"}}}},
       "sparse-24-bitmask"},
      {{{"quant_method", "compressed-tensors"},
        {"format", "int-quantized"},
        {"config_groups", {{"group_0", {{"weights", {{"num_bits", 4}}}}}}}},
       "4 bits"},
      {{{"bits", 4}}, "of no known method"},
  };
  for (const auto& [quantization, message] : kCases) {
    expect_error(ErrorKind::Unsupported, message,
                 [&] { parse_config(with(quantization), "config.json"); });
  }
}

TEST(Quantization, ABrokenDescriptionIsCorrupt) {
  const std::pair<Json, const char*> kCases[] = {
      {7, "'quantization_config' is number"},
      {{{"quant_method", "fp8"}, {"weight_block_size", 128}}, "weight_block_size is 128"},
      {{{"quant_method", "fp8"}, {"weight_block_size", {0, 128}}}, "expected [rows, columns]"},
      {{{"quant_method", "fp8"}, {"weight_block_size", {128}}}, "expected [rows, columns]"},
      {{{"quant_method", "compressed-tensors"},
        {"config_groups", {{"group_0", {{"weights", {{"group_size", -3}}}}}}}},
       "group_size is -3"},
  };
  for (const auto& [quantization, message] : kCases) {
    expect_error(ErrorKind::Corrupt, message,
                 [&] { parse_config(with(quantization), "config.json"); });
  }
}

TEST(Quantization, ANullIsNone) {
  EXPECT_FALSE(quantization_of(with(nullptr), "c"));
  EXPECT_FALSE(quantization_of(tiny_config({}), "c"));
}

at::Tensor fp8(std::initializer_list<float> values, c10::IntArrayRef shape) {
  return at::tensor(values).reshape(shape).to(at::kFloat8_e4m3fn);
}

TEST(Dequantize, MultipliesByTheScaleOfItsBlock) {
  const Quantization blocks{.method = "fp8", .blocks = {{2, 2}}};
  const at::Tensor weight = fp8({1, 2, 3, 4, 5, 6, 7, 8, -9}, {3, 3});
  // Blocks of two by two; the last row and column have blocks of their own.
  const at::Tensor scale = at::tensor({2.0f, 10.0f, 0.5f, 100.0f}).view({2, 2});
  const at::Tensor got = dequantize(weight, scale, {}, blocks, "t");
  const at::Tensor expected =
      at::tensor({2.f, 4.f, 30.f, 8.f, 10.f, 60.f, 3.5f, 4.f, -900.f}).view({3, 3});
  EXPECT_TRUE(at::equal(got, expected.to(at::kBFloat16))) << got;
}

TEST(Dequantize, TakesTheZeroPointAway) {
  const Quantization rows{.method = "compressed-tensors", .integers = true};
  const at::Tensor weight = at::tensor({-128, 127, 0, 3}, at::kChar).view({2, 2});
  const at::Tensor scale = at::tensor({0.5f, 2.0f}).view({2, 1});
  const at::Tensor zero = at::tensor({-128, 1}, at::kChar).view({2, 1});
  const at::Tensor got = dequantize(weight, scale, zero, rows, "t");
  EXPECT_TRUE(at::equal(got, at::tensor({0.f, 127.5f, -2.f, 4.f}).view({2, 2}).to(at::kBFloat16)))
      << got;
}

TEST(Dequantize, ScalesThatFitNothingAreNamed) {
  const Quantization blocks{.method = "fp8", .blocks = {{2, 2}}};
  const at::Tensor weight = fp8({1, 2, 3, 4, 5, 6}, {2, 3});
  for (const at::Tensor& scale :
       {at::ones({3}), at::ones({2, 2}), at::ones({1, 3}), at::ones({0})}) {
    expect_error(ErrorKind::Corrupt, "tensor 't': scales of shape",
                 [&] { dequantize(weight, scale, {}, blocks, "tensor 't'"); });
  }
  expect_error(ErrorKind::Unsupported, "its scales are Byte",
               [&] { dequantize(weight, at::ones({2}, at::kByte), {}, blocks, "tensor 't'"); });
}

}  // namespace
}  // namespace prunus::test::quantization_test
