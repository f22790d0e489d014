// Golden logits made by stock transformers (tools/make_forward_goldens.py).
#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/json.h"
#include "prunus/io/safetensors.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test {
namespace {

class ForwardGolden : public testing::TestWithParam<const char*> {};

at::Tensor golden_ids(const Json& golden) {
  const auto rows = golden.at("input_ids").get<std::vector<std::vector<int64_t>>>();
  std::vector<at::Tensor> stacked;
  for (const auto& row : rows) stacked.push_back(at::tensor(row, at::kLong));
  return at::stack(stacked);
}

TEST_P(ForwardGolden, LogitsEqualTransformers) {
  const std::string dir = c10::str(PRUNUS_SOURCE_DIR "/tests/model/golden/", GetParam());
  const Model model = open_model(dir);
  const auto file = SafetensorsFile::open(dir + "/golden.safetensors");
  const TensorEntry* entry = file->find("logits");
  ASSERT_NE(entry, nullptr);
  const at::Tensor logits = logits_of(model, golden_ids(read_json(dir + "/golden.json")));
  EXPECT_LT(relative_error(logits, file->view(*entry)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Families, ForwardGolden,
                         testing::Values("llama_mha", "llama_gqa", "llama_linear_rope",
                                         "llama31_rope", "llama_v5_rope", "llama_bias",
                                         "mistral_sliding", "qwen2", "qwen2_sliding", "qwen3"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace prunus::test
