#include "prunus/adapter/lora.h"

#include <cmath>
#include <limits>
#include <set>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::lora_test {
namespace {

// hidden 64, so that a factor has enough numbers to look at their distribution.
Model wide_model() { return tiny_model({.hidden = 64, .head_dim = 8, .kv_heads = 2, .ffn = 48}); }

LoraAdapter make(const Model& model, const LoraOptions& options, uint64_t seed = 0) {
  return LoraAdapter::make(model, options, seed, at::kCPU);
}

TEST(Lora, ScaleIsAlphaOverRankOrItsRoot) {
  EXPECT_EQ((LoraOptions{.r = 16, .alpha = 8}.scale()), 0.5);
  EXPECT_EQ((LoraOptions{.r = 16, .alpha = 8, .rslora = true}.scale()), 2);
}

TEST(Lora, FactorsHaveTheWeightsShapes) {
  const Model model = wide_model();
  const LoraAdapter adapter = make(model, {.r = 3, .alpha = 6});
  ASSERT_EQ(adapter.pairs.size(), 14u);
  for (const auto& [place, pair] : adapter.pairs) {
    const auto& shape = model.tensor(place.second, place.first).shape;
    EXPECT_EQ(pair.a.sizes(), at::IntArrayRef({3, shape[1]}));
    EXPECT_EQ(pair.b.sizes(), at::IntArrayRef({shape[0], 3}));
    EXPECT_EQ(pair.a.scalar_type(), at::kFloat);
    EXPECT_EQ(pair.b.abs().max().item<float>(), 0);
    EXPECT_EQ(pair.scale, 2);
  }
  // A layer: q and o 64+32 each, k and v 64+16, gate, up and down 64+48; three for each, two
  // layers.
  EXPECT_EQ(adapter.parameter_count(), 2 * 3 * (2 * 96 + 2 * 80 + 3 * 112));
}

TEST(Lora, KaimingIsUniformWithinOneOverTheRootOfTheInputs) {
  const at::Tensor a = make(wide_model(), {.r = 64}).pairs.at({0, Role::QProj}).a;
  const double bound = 1.0 / 8;  // 64 inputs
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.max().item<double>(), 0.99 * bound);
  EXPECT_LT(a.min().item<double>(), -0.99 * bound);
  EXPECT_NEAR(a.mean().item<double>(), 0, 0.005);
  EXPECT_NEAR(a.square().mean().item<double>(), bound * bound / 3, 0.05 * bound * bound);
}

TEST(Lora, GaussianDeviatesByOneOverTheRank) {
  const LoraOptions options{.r = 50, .init = LoraOptions::Init::Gaussian};
  const at::Tensor a = make(wide_model(), options).pairs.at({0, Role::DownProj}).a;
  EXPECT_NEAR(a.std().item<double>(), 1.0 / 50, 0.001);
  EXPECT_NEAR(a.mean().item<double>(), 0, 0.002);
  EXPECT_GT(a.abs().max().item<double>(), 2.5 / 50);  // a uniform one ends at 1.73
}

TEST(Lora, WhatAPairGetsDependsOnItsSeedLayerAndRoleAlone) {
  const Model model = wide_model();
  const LoraAdapter all = make(model, {}, 5);
  const LoraAdapter one = make(model, {.targets = "up_proj"}, 5);
  ASSERT_EQ(one.pairs.size(), 2u);
  for (const auto& [place, pair] : one.pairs) {
    EXPECT_TRUE(at::equal(pair.a, all.pairs.at(place).a));
  }
  const LoraAdapter again = make(model, {}, 5);
  for (const auto& [place, pair] : again.pairs) {
    EXPECT_TRUE(at::equal(pair.a, all.pairs.at(place).a));
  }
}

TEST(Lora, NoTwoPairsAndNoTwoSeedsGetTheSameNumbers) {
  const Model model = wide_model();
  std::set<float> firsts;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const LoraAdapter adapter = make(model, {}, seed);
    for (const auto& [place, pair] : adapter.pairs) firsts.insert(pair.a[0][0].item<float>());
  }
  EXPECT_GT(firsts.size(), 275u);  // of 280; two of 2^24 numbers rarely agree by chance
}

TEST(Lora, ParametersShareTheFactorsAndWantGradients) {
  const Model model = wide_model();
  LoraAdapter adapter = make(model, {.r = 2, .targets = "down_proj,q_proj"});
  const std::vector<Parameter> parameters = adapter.parameters(model);
  ASSERT_EQ(parameters.size(), 8u);
  EXPECT_EQ(parameters[0].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(parameters[1].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  EXPECT_EQ(parameters[2].name, "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight");
  EXPECT_EQ(parameters[7].name, "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
  EXPECT_TRUE(parameters[7].value.is_same(adapter.pairs.at({1, Role::DownProj}).b));
  for (const Parameter& parameter : parameters) {
    EXPECT_TRUE(parameter.value.requires_grad() && parameter.value.is_leaf());
    EXPECT_TRUE(parameter.decay && parameter.hidden_matrix);
  }
}

void expect_refused(const std::string& part, const LoraOptions& options) {
  expect_error(ErrorKind::InvalidArgument, part, [&] { make(tiny_model({}), options); });
}

TEST(Lora, RefusesOptionsOutOfRange) {
  expect_refused("rank r is 0", {.r = 0});
  expect_refused("rank r is 100000", {.r = 100000});
  expect_refused("alpha is 0", {.alpha = 0});
  expect_refused("alpha is inf", {.alpha = std::numeric_limits<double>::infinity()});
  expect_refused("dropout is 1", {.dropout = 1});
  expect_refused("dropout is -0.1", {.dropout = -0.1});
  expect_refused("'embed_tokenz' is not known", {.targets = "embed_tokenz"});
}

}  // namespace
}  // namespace prunus::test::lora_test
