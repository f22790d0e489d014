#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/statistics_collector.h"

namespace prunus::test::expert_output_test {
namespace {

// What an expert puts out, two channels a token.
at::Tensor outputs(const std::vector<float>& channels) {
  return at::tensor(channels).view({-1, 2});
}

ExpertPart part(int expert, int experts) {
  ExpertPart one;
  one.expert = expert;
  one.experts = experts;
  return one;
}

// Layer 0 is dense, layer 1 has two experts, layer 2 has one.
class ExpertOutput : public testing::Test {
 protected:
  void show(int layer, int expert, const at::Tensor& output) {
    collector_.on_forward({.layer = layer,
                           .role = Role::DownProj,
                           .weight = {},
                           .bias = {},
                           .part = part(expert, layer == 1 ? 2 : 1)},
                          at::ones({output.size(0), 3}), output);
  }
  void end_batch(int layer, bool last) { collector_.on_block(layer, {}, {}, last); }

  std::vector<int64_t> tokens(int layer) const {
    std::vector<int64_t> tokens;
    for (const StatisticSums& one : seen_.at(layer)) tokens.push_back(one.tokens);
    return tokens;
  }
  std::vector<double> means(int layer) const {
    const at::Tensor x = mean_expert_output_of(seen_.at(layer));
    EXPECT_EQ(x.scalar_type(), at::kDouble);
    return {x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel()};
  }

  std::map<int, std::vector<StatisticSums>> seen_;
  StatisticsCollector collector_{
      [](int, Role) -> std::vector<const Statistic*> { return {&stats::expert_output}; },
      [this](int layer, const LayerStatistics& one) {
        seen_[layer] = one.of_experts(stats::expert_output);
      }};
};

TEST_F(ExpertOutput, AveragesTheNormsOfEachExpertsTokensOverAllBatches) {
  show(1, 0, outputs({3, 4, 0, 0}));
  show(1, 1, outputs({3, 4}));
  end_batch(1, false);
  EXPECT_TRUE(seen_.empty());
  show(1, 0, outputs({-6, -8}));
  show(1, 1, outputs({}));
  end_batch(1, true);
  EXPECT_EQ(tokens(1), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(means(1), (std::vector<double>{5, 5}));  // (5 + 0 + 10) / 3
}

TEST_F(ExpertOutput, CountsTokensThatReachAnExpertEvenWhereItsOutputIsZero) {
  show(1, 0, outputs({3, 4, 0, 0}));
  show(1, 1, outputs({}));
  end_batch(1, true);
  EXPECT_EQ(tokens(1), (std::vector<int64_t>{2, 0}));
  EXPECT_EQ(means(1), (std::vector<double>{2.5, 0}));
}

TEST_F(ExpertOutput, BeginsEachLayerAnew) {
  show(1, 0, outputs({3, 4}));
  show(1, 1, outputs({3, 4}));
  end_batch(1, true);
  show(2, 0, outputs({0, 1}));
  end_batch(2, true);
  EXPECT_EQ(tokens(2), (std::vector<int64_t>{1}));
  EXPECT_EQ(means(2), (std::vector<double>{1}));
}

TEST_F(ExpertOutput, LooksAtNothingButTheExpertsOwnDownProjection) {
  const at::Tensor input = at::ones({1, 2, 4});
  for (const Role role : {Role::Router, Role::DownProj, Role::SharedDownProj, Role::OProj}) {
    collector_.on_forward({.layer = 0, .role = role, .weight = {}, .bias = {}}, input, input);
  }
  for (const Role role : {Role::GateProj, Role::UpProj}) {
    collector_.on_forward({.layer = 0, .role = role, .weight = {}, .bias = {}, .part = part(0, 1)},
                          input, outputs({3, 4}));
  }
  end_batch(0, true);
  EXPECT_TRUE(seen_.at(0).empty());
}

}  // namespace
}  // namespace prunus::test::expert_output_test
