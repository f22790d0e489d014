#include "prunus/calib/expert_output_collector.h"

#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace prunus::test {
namespace {

// Layer 0 is dense, layer 1 has two experts, layer 2 has one.
ModelConfig mixture() {
  ModelConfig config;
  config.layers = {{.experts = 0}, {.experts = 2}, {.experts = 1}};
  return config;
}

// What an expert puts out, two channels a token.
at::Tensor outputs(const std::vector<float>& channels) {
  return at::tensor(channels).view({-1, 2});
}

std::vector<double> values(const at::Tensor& x) {
  EXPECT_EQ(x.scalar_type(), at::kDouble);
  return {x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel()};
}

ExpertPart part(int expert, int experts) {
  ExpertPart one;
  one.expert = expert;
  one.experts = experts;
  return one;
}

class ExpertOutput : public testing::Test {
 protected:
  void show(int layer, int expert, const at::Tensor& output, bool last_batch) {
    const int experts = layer == 1 ? 2 : 1;
    collector_.on_forward({.layer = layer,
                           .role = Role::DownProj,
                           .weight = {},
                           .bias = {},
                           .last_batch = last_batch,
                           .part = part(expert, experts)},
                          {}, output);
  }

  const ModelConfig config_ = mixture();
  std::map<int, WeightStats> seen_;
  ExpertOutputCollector collector_{
      config_, [this](int layer, const WeightStats& stats) { seen_[layer] = stats; }};
};

TEST_F(ExpertOutput, AddsUpTheNormsOfEachExpertsTokensOverAllBatches) {
  show(1, 0, outputs({3, 4, 0, 0}), false);
  show(1, 1, outputs({3, 4}), false);
  show(1, 0, outputs({-6, -8}), true);
  EXPECT_TRUE(seen_.empty());
  show(1, 1, outputs({}), true);
  ASSERT_EQ(seen_.size(), 1u);
  EXPECT_EQ(values(seen_.at(1).output_norm), (std::vector<double>{15, 5}));
  EXPECT_EQ(values(seen_.at(1).routed_tokens), (std::vector<double>{3, 1}));
}

TEST_F(ExpertOutput, CountsTokensThatReachAnExpertEvenWhereItsOutputIsZero) {
  show(1, 0, outputs({3, 4, 0, 0}), true);
  show(1, 1, outputs({}), true);
  EXPECT_EQ(values(seen_.at(1).routed_tokens), (std::vector<double>{2, 0}));
  EXPECT_EQ(values(seen_.at(1).output_norm), (std::vector<double>{5, 0}));
}

TEST_F(ExpertOutput, BeginsEachLayerAnew) {
  show(1, 0, outputs({3, 4}), true);
  show(1, 1, outputs({3, 4}), true);
  show(2, 0, outputs({0, 1}), true);
  EXPECT_EQ(values(seen_.at(2).output_norm), (std::vector<double>{1}));
  EXPECT_EQ(values(seen_.at(2).routed_tokens), (std::vector<double>{1}));
}

TEST_F(ExpertOutput, LooksAtNothingButTheExpertsOwnDownProjection) {
  const at::Tensor input = at::ones({1, 2, 4});
  for (const Role role : {Role::Router, Role::DownProj, Role::SharedDownProj, Role::OProj}) {
    collector_.on_forward({.layer = 0, .role = role, .weight = {}, .bias = {}}, input, input);
  }
  for (const Role role : {Role::GateProj, Role::UpProj}) {
    collector_.on_forward({.layer = 2, .role = role, .weight = {}, .bias = {}, .part = part(0, 1)},
                          {}, outputs({3, 4}));
  }
  EXPECT_TRUE(seen_.empty());
}

}  // namespace
}  // namespace prunus::test
