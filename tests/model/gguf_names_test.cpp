#include "prunus/model/gguf_names.h"

#include <set>

#include <ATen/ATen.h>

#include <gmock/gmock.h>

#include "prunus/model/gguf_config.h"
#include "prunus/model/layout.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::gguf_names_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr TensorSpec kRows = specs::matrix("q", Role::QProj, axes::QueryHeads, axes::Hidden);
constexpr TensorSpec kExpertRows =
    specs::matrix("up.{e}", Role::UpProj, axes::ExpertFfn, axes::Hidden);
constexpr TensorSpec kExpertColumns =
    specs::matrix("down.{e}", Role::DownProj, axes::Hidden, axes::ExpertFfn);

const GgufArchitecture& architecture(std::string_view name, std::string_view family) {
  for (const GgufArchitecture* row : gguf_architectures_named(name)) {
    if (row->family == family) return *row;
  }
  throw std::runtime_error("no such architecture");
}

ModelConfig golden_config(const std::string& name) { return open_model(golden_dir(name)).config(); }

TEST(GgufForm, PutsTheHalvesOfAHeadSideBySide) {
  // Two heads of six channels: (0, 3), (1, 4), (2, 5) are turned together.
  const at::Tensor weight = at::arange(12, at::kFloat).view({12, 1});
  const at::Tensor stored = to_gguf_form(weight, GgufForm::RotaryPairs, kRows, 6, 0);
  EXPECT_TRUE(at::equal(stored.flatten(), at::tensor({0.f, 3.f, 1.f, 4.f, 2.f, 5.f, 6.f, 9.f, 7.f,
                                                      10.f, 8.f, 11.f})));
}

TEST(GgufForm, StacksExpertsThatStandBelowOrBesideEachOther) {
  // Two experts of one channel on three; values say expert, row, column.
  const at::Tensor rows = at::tensor({0.f, 1.f, 2.f, 100.f, 101.f, 102.f}).view({2, 3});
  const at::Tensor below = to_gguf_form(rows, GgufForm::Stacked, kExpertRows, 0, 2);
  EXPECT_TRUE(at::equal(below, rows.view({2, 1, 3})));
  const at::Tensor columns = at::tensor({0.f, 100.f, 10.f, 110.f, 20.f, 120.f}).view({3, 2});
  const at::Tensor beside = to_gguf_form(columns, GgufForm::Stacked, kExpertColumns, 0, 2);
  EXPECT_TRUE(at::equal(beside.select(0, 1).flatten(), at::tensor({100.f, 110.f, 120.f})));
}

TEST(GgufForm, AddsOneToNormsAndDropsTheSizeOfASingleRow) {
  const at::Tensor norm = at::tensor({-0.5f, 0.25f});
  EXPECT_TRUE(at::equal(to_gguf_form(norm.to(at::kBFloat16), GgufForm::OnePlus, kRows, 0, 0),
                        at::tensor({0.5f, 1.25f})));
  EXPECT_THAT(to_gguf_form(norm.view({1, 2}), GgufForm::Row, kRows, 0, 0).sizes(), ElementsAre(2));
}

TEST(GgufForm, ComesBackAsItWas) {
  const at::Tensor weight = at::randn({12, 8});
  for (const GgufForm form : {GgufForm::Same, GgufForm::RotaryPairs, GgufForm::Stacked}) {
    for (const TensorSpec* spec : {&kExpertRows, &kExpertColumns}) {
      const at::Tensor stored = to_gguf_form(weight, form, *spec, 6, 4);
      EXPECT_TRUE(at::equal(from_gguf_form(stored, form, *spec, 6, 4), weight));
    }
  }
  const at::Tensor row = weight.narrow(0, 0, 1);
  EXPECT_TRUE(at::equal(
      from_gguf_form(to_gguf_form(row, GgufForm::Row, kRows, 0, 0), GgufForm::Row, kRows, 0, 0),
      row));
  const at::Tensor norm = at::tensor({-0.5f, 0.25f, 3.0f});
  EXPECT_TRUE(at::equal(from_gguf_form(to_gguf_form(norm, GgufForm::OnePlus, kRows, 0, 0),
                                       GgufForm::OnePlus, kRows, 0, 0),
                        norm));
}

TEST(GgufNames, SayWhichTensorHoldsWhichWeights) {
  const GgufArchitecture& phi3 = architecture("phi3", "phi3");
  const GgufName* up = gguf_name(phi3, Role::UpProj);
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(gguf_tensor_name(*up, 3), "blk.3.ffn_up.weight");
  const auto parts = gguf_parts(phi3, *up);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0]->role, Role::GateProj);
  EXPECT_EQ(parts[1]->role, Role::UpProj);
  EXPECT_EQ(gguf_name(phi3, Role::QNorm), nullptr);
  EXPECT_THAT(known_gguf_architectures(), HasSubstr("bloom, deci, gemma"));
}

TEST(GgufNames, NameAFamilyThatPrunusHasAndOnlyRolesOnce) {
  for (const GgufArchitecture& row : gguf_architectures()) {
    EXPECT_NE(find_family(row.family), nullptr) << row.family;
    std::set<Role> roles;
    for (const GgufName& name : row.names) {
      EXPECT_TRUE(roles.insert(name.role).second) << row.name << " " << role_name(name.role);
    }
  }
}

TEST(GgufNames, AreThereForEveryWeightOfTheirFamilies) {
  for (const char* name : {"llama_gqa",  "llama_bias",    "llama31_rope",    "llama_linear_rope",
                           "llama_yarn", "llama_dynamic", "mistral_sliding", "mixtral",
                           "qwen2",      "qwen2_moe",     "qwen3",           "qwen3_moe",
                           "gemma",      "gemma2",        "gemma3_text",     "gemma3_text_linear",
                           "phi3",       "phi3_longrope", "phi3_partial",    "glm4",
                           "olmo2",      "gpt2",          "gpt_neox",        "gpt_neox_sequential",
                           "bloom"}) {
    ModelConfig config = golden_config(name);
    if (config.score_divisor != 0) config.score_divisor = static_cast<double>(config.head_dim);
    const auto rows = gguf_architectures_of(*config.family);
    ASSERT_THAT(rows, Not(IsEmpty())) << name;
    const auto obstacles = gguf_obstacles(config, *rows[0]);
    EXPECT_THAT(obstacles, IsEmpty()) << name;
  }
}

TEST(GgufObstacles, NameWhatAnArchitectureCannotTake) {
  const auto first = [](const ModelConfig& config, std::string_view name, std::string_view family) {
    const auto obstacles = gguf_obstacles(config, architecture(name, family));
    return obstacles.empty() ? std::string() : obstacles[0];
  };
  ModelConfig uneven = golden_config("llama_gqa");
  uneven.layers[0].intermediate_size -= 2;
  EXPECT_THAT(first(uneven, "llama", "llama"), HasSubstr("layers of different sizes"));
  EXPECT_EQ(first(uneven, "deci", "llama"), "");
  ModelConfig narrow = golden_config("qwen2");
  for (LayerShape& layer : narrow.layers) layer.num_attention_heads = layer.num_key_value_heads;
  EXPECT_THAT(first(narrow, "qwen2", "qwen2"), HasSubstr("query heads must fill hidden_size"));
  EXPECT_THAT(first(golden_config("qwen2_sliding"), "qwen2", "qwen2"), HasSubstr("sliding window"));
  ModelConfig scaled = golden_config("qwen3");
  scaled.rope.kind = Rope::Kind::Llama3;
  EXPECT_THAT(first(scaled, "qwen3", "qwen3"), HasSubstr("llama3"));
  ModelConfig untied = golden_config("qwen3");
  untied.tie_word_embeddings = false;
  EXPECT_THAT(first(untied, "openelm", "qwen3"), HasSubstr("no tensor for lm_head"));
  EXPECT_THAT(first(golden_config("qwen2_moe_mixed"), "qwen2moe", "qwen2_moe"),
              HasSubstr("layers without experts"));
  EXPECT_THAT(first(golden_config("gemma2"), "gemma2", "gemma2"),
              HasSubstr("scores divided by the root of 24, not of 16"));
  ModelConfig irregular = golden_config("gemma2");
  for (LayerShape& layer : irregular.layers) layer.sliding_window = std::nullopt;
  irregular.score_divisor = static_cast<double>(irregular.head_dim);
  irregular.layers.back().sliding_window = 4;
  EXPECT_THAT(first(irregular, "gemma2", "gemma2"), HasSubstr("window"));
  ModelConfig cut = golden_config("llama_gqa");
  cut.rope_head_dim = 8;
  EXPECT_THAT(first(cut, "llama", "llama"), HasSubstr("channels cut from heads"));
  expect_error(ErrorKind::Unsupported, "layers of different sizes",
               [&] { gguf_settings(uneven, architecture("llama", "llama")); });
}

TEST(GgufRemarks, NameWhatLlamaCppComputesOtherwise) {
  EXPECT_THAT(gguf_remarks(golden_config("mistral_sliding"), architecture("llama", "mistral")),
              ElementsAre(HasSubstr("attends to everything")));
  EXPECT_THAT(gguf_remarks(golden_config("gpt_neox"), architecture("gptneox", "gpt_neox")),
              ElementsAre(HasSubstr("GELU")));
  EXPECT_THAT(gguf_remarks(golden_config("llama_dynamic"), architecture("llama", "llama")),
              ElementsAre(HasSubstr("does not stretch")));
  EXPECT_THAT(gguf_remarks(golden_config("llama_gqa"), architecture("llama", "llama")), IsEmpty());
}

}  // namespace
}  // namespace prunus::test::gguf_names_test
