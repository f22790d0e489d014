#include "prunus/adapter/lora_targets.h"

#include <gtest/gtest.h>

#include "prunus/model/layout.h"

#include "support/expect_error.h"
#include "support/golden_models.h"

namespace prunus::test::lora_targets_test {
namespace {

// "0:q_proj 0:k_proj …"
std::string targets(const std::string& model, const std::string& text) {
  std::string list;
  for (const auto& [layer, role] : lora_targets(open_model(golden_dir(model)), text)) {
    list += (list.empty() ? "" : " ") + std::to_string(layer) + ":" + role_name(role);
  }
  return list;
}

void expect_refused(const std::string& model, const std::string& text, ErrorKind kind,
                    const std::string& part) {
  expect_error(kind, part, [&] { targets(model, text); });
}

TEST(LoraTargets, AllAreTheProjectionsOfTheFamily) {
  EXPECT_EQ(targets("llama_mha", "all"),
            "0:q_proj 0:k_proj 0:v_proj 0:o_proj 0:gate_proj 0:up_proj 0:down_proj "
            "1:q_proj 1:k_proj 1:v_proj 1:o_proj 1:gate_proj 1:up_proj 1:down_proj");
  const std::string ungated =
      "0:q_proj 0:k_proj 0:v_proj 0:o_proj 0:up_proj 0:down_proj "
      "1:q_proj 1:k_proj 1:v_proj 1:o_proj 1:up_proj 1:down_proj";
  for (const char* name : {"opt", "gpt2", "gpt_neox", "bloom"}) {
    EXPECT_EQ(targets(name, "all"), ungated) << name;
  }
}

TEST(LoraTargets, OfAMixtureAllAreWhatIsAWeightOfItsOwn) {
  EXPECT_EQ(targets("mixtral", "all"),
            "0:q_proj 0:k_proj 0:v_proj 0:o_proj 1:q_proj 1:k_proj 1:v_proj 1:o_proj");
  // Its first layer has no experts.
  EXPECT_EQ(targets("qwen2_moe_mixed", "all"),
            "0:q_proj 0:k_proj 0:v_proj 0:o_proj 0:gate_proj 0:up_proj 0:down_proj "
            "1:q_proj 1:k_proj 1:v_proj 1:o_proj "
            "1:shared_gate_proj 1:shared_up_proj 1:shared_down_proj");
  EXPECT_EQ(targets("qwen2_moe_mixed", "gate_proj"), "0:gate_proj");
}

TEST(LoraTargets, NamesAreThoseOfRolesOrOfModules) {
  EXPECT_EQ(targets("gpt2", "q_proj,down_proj"), "0:q_proj 0:down_proj 1:q_proj 1:down_proj");
  EXPECT_EQ(targets("gpt2", "c_attn"), "0:q_proj 0:k_proj 0:v_proj 1:q_proj 1:k_proj 1:v_proj");
  EXPECT_EQ(targets("gpt2", "c_proj"), "0:o_proj 0:down_proj 1:o_proj 1:down_proj");
  EXPECT_EQ(targets("gpt2", "mlp.c_proj"), "0:down_proj 1:down_proj");
  EXPECT_EQ(targets("gpt2", "transformer.h.1.mlp.c_proj"), "1:down_proj");
  EXPECT_EQ(targets("opt", "fc1,out_proj"), "0:o_proj 0:up_proj 1:o_proj 1:up_proj");
  EXPECT_EQ(targets("phi3", "gate_up_proj"), "0:gate_proj 0:up_proj 1:gate_proj 1:up_proj");
  EXPECT_EQ(targets("baichuan_7b", "W_pack"), targets("gpt2", "c_attn"));
  EXPECT_EQ(targets("gpt2", "c_attn,q_proj"), targets("gpt2", "c_attn"));
}

TEST(LoraTargets, OtherCharactersMakeItARegularExpressionForWholePaths) {
  EXPECT_EQ(targets("llama_mha", R"(.*\.1\..*\.(q|down)_proj)"), "1:q_proj 1:down_proj");
  expect_refused("llama_mha", "(q|down)_proj", ErrorKind::InvalidArgument,
                 "'(q|down)_proj' matches no module of this model; known: all, q_proj");
  expect_refused("llama_mha", ".*(", ErrorKind::Unsupported, "--lora-targets: regular expression");
}

TEST(LoraTargets, WhatMeansNothingIsNamedWithWhatDoes) {
  expect_refused("gpt2", "gate_proj", ErrorKind::InvalidArgument,
                 "'gate_proj' is no weight of this model; known: all, q_proj, k_proj, v_proj, "
                 "o_proj, up_proj, down_proj, c_attn, c_proj, c_fc");
  expect_refused("llama_mha", "q_proj,fc1", ErrorKind::InvalidArgument,
                 "'fc1' is not known; known: all, q_proj");
  expect_refused("llama_mha", "q_proj,", ErrorKind::InvalidArgument, "'' is not known");
  expect_refused("llama_mha", "", ErrorKind::InvalidArgument, "'' is not known");
  expect_refused("llama_mha", "q_proj,q_proj", ErrorKind::InvalidArgument, "names q_proj twice");
}

TEST(LoraTargets, WhatCannotHaveAnAdapterIsRefusedWithTheReason) {
  expect_refused("mixtral", "gate_proj,up_proj", ErrorKind::Unsupported,
                 "the experts' gate_proj, up_proj are several tensors each; known: all, q_proj");
  expect_refused("mixtral", "w1", ErrorKind::Unsupported, "means experts only");
  expect_refused("llama_mha", "lm_head", ErrorKind::Unsupported,
                 "means lm_head, which get no adapters");
}

}  // namespace
}  // namespace prunus::test::lora_targets_test
