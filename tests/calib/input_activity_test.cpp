#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/statistics_collector.h"

namespace prunus::input_activity_test {
namespace {

// Gathers what a product of layer 0 reads.
class InputActivity : public testing::Test {
 protected:
  void show(const LinearSite& site, const at::Tensor& x, bool last) {
    collector_.on_forward(site, x, {});
    collector_.on_block(0, {}, {}, last);
  }
  std::vector<double> activity(Role role, int expert = -1) const {
    const at::Tensor x = input_activity_of(seen_.of(stats::input_activity, role, expert));
    EXPECT_EQ(x.scalar_type(), at::kDouble);
    return {x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel()};
  }

  LayerStatistics seen_;
  StatisticsCollector collector_{
      [](int, Role) -> std::vector<const Statistic*> { return {&stats::input_activity}; },
      [this](int, const LayerStatistics& one) { seen_ = one; }};
};

LinearSite site_of(Role role, int64_t group) {
  LinearSite site;
  site.role = role;
  site.group = group;
  return site;
}

// Means of |x| are 3 and 4 in two samples of one batch, 12 in a third of another: √(9 + 16 + 144).
TEST_F(InputActivity, IsTheRootOfSquaredMeansOfSamples) {
  const LinearSite site = site_of(Role::DownProj, 1);
  show(site, at::tensor({2.0F, -4.0F, 4.0F, 4.0F}).view({2, 2, 1}), false);
  show(site, at::tensor({-12.0F, 12.0F}).view({1, 2, 1}), true);
  EXPECT_EQ(activity(Role::DownProj), (std::vector<double>{13}));
  EXPECT_EQ(seen_.of(stats::input_activity, Role::DownProj).tokens, 6);
}

// Two heads of two channels: norms 5 and 10, mean 7.5, and 0.
TEST_F(InputActivity, OfAHeadIsSharedByItsChannels) {
  const at::Tensor x = at::tensor({3.0F, 4.0F, 0.0F, 0.0F, -6.0F, 8.0F, 0.0F, 0.0F});
  show(site_of(Role::OProj, 2), x.view({1, 2, 4}), true);
  EXPECT_EQ(activity(Role::OProj), (std::vector<double>{3.75, 3.75, 0, 0}));
}

// Of three samples the second has no token for the expert.
TEST_F(InputActivity, OfAnExpertIsThatOfTheTokensThatChoseIt) {
  LinearSite site = site_of(Role::DownProj, 1);
  site.part.expert = 0;
  site.part.experts = 1;
  site.part.row_tokens = {2, 0, 1};
  show(site, at::tensor({2.0F, 4.0F, 4.0F}).view({3, 1}), true);
  EXPECT_EQ(activity(Role::DownProj, 0), (std::vector<double>{5}));
  EXPECT_EQ(seen_.of(stats::input_activity, Role::DownProj, 0).tokens, 3);
}

}  // namespace
}  // namespace prunus::input_activity_test
