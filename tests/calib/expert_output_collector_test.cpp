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

// Two channels per expert. Expert 0 turns (a, b) into (3a, 4a), expert 1 into (a, b).
at::Tensor down() {
  return at::tensor({3.0f, 0.0f, 1.0f, 0.0f,  //
                     4.0f, 0.0f, 0.0f, 1.0f})
      .view({2, 4});
}

at::Tensor tokens(const std::vector<float>& channels) {
  return at::tensor(channels).view({1, -1, 4});
}

std::vector<double> values(const at::Tensor& x) {
  EXPECT_EQ(x.scalar_type(), at::kDouble);
  return {x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel()};
}

class ExpertOutput : public testing::Test {
 protected:
  void show(int layer, Role role, const at::Tensor& input, bool last_batch) {
    collector_.on_forward(
        {.layer = layer, .role = role, .weight = down(), .bias = {}, .last_batch = last_batch},
        input, {});
  }

  const ModelConfig config_ = mixture();
  std::map<int, WeightStats> seen_;
  ExpertOutputCollector collector_{
      config_, [this](int layer, const WeightStats& stats) { seen_[layer] = stats; }};
};

TEST_F(ExpertOutput, AddsUpTheNormsOfEachExpertsTokensOverAllBatches) {
  show(1, Role::DownProj, tokens({1, 0, 0, 0, 0, 2, 3, 4}), false);
  EXPECT_TRUE(seen_.empty());
  show(1, Role::DownProj, tokens({-2, 0, 0, 0}), true);
  ASSERT_EQ(seen_.size(), 1u);
  // Expert 0: (3, 4), (0, 0), (−6, −8); expert 1: (3, 4).
  EXPECT_EQ(values(seen_.at(1).output_norm), (std::vector<double>{15, 5}));
}

TEST_F(ExpertOutput, CountsTokensThatReachAnExpertEvenWhereItsOutputIsZero) {
  // Two tokens at expert 0, the second with an output of 0; one chooses neither; none at expert 1.
  show(1, Role::DownProj, tokens({1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0}), true);
  EXPECT_EQ(values(seen_.at(1).routed_tokens), (std::vector<double>{2, 0}));
  EXPECT_EQ(values(seen_.at(1).output_norm), (std::vector<double>{5, 0}));
}

TEST_F(ExpertOutput, BeginsEachLayerAnew) {
  show(1, Role::DownProj, tokens({1, 0, 0, 0}), true);
  show(2, Role::DownProj, tokens({0, 0, 1, 0}), true);
  EXPECT_EQ(values(seen_.at(2).output_norm), (std::vector<double>{1}));
  EXPECT_EQ(values(seen_.at(2).routed_tokens), (std::vector<double>{1}));
}

TEST_F(ExpertOutput, LooksAtNothingButTheExpertsOwnDownProjection) {
  show(0, Role::DownProj, tokens({1, 2, 3, 4}), true);
  for (const Role role : {Role::Router, Role::UpProj, Role::SharedDownProj, Role::OProj}) {
    show(1, role, tokens({1, 2, 3, 4}), true);
  }
  EXPECT_TRUE(seen_.empty());
}

}  // namespace
}  // namespace prunus::test
