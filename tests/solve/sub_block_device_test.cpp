#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "solve/sub_block_fixture.h"
#include "support/device.h"

namespace prunus::test::sub_block_device_test {
namespace {

std::vector<SubBlockResult> repaired_on(at::Device device, const Model& dense) {
  const Model pruned = halved(dense);
  SubBlockOptions options = kShort;
  options.residual_correction = 0.5;
  return repair_sub_blocks(pruned, dense, one_to_one(pruned), text(dense, 8, 9), device, options,
                           [](int, const std::vector<OverlayTensor>& tensors) {
                             for (const OverlayTensor& one : tensors) {
                               EXPECT_TRUE(one.value.is_cpu()) << one.tensor->name;
                             }
                           });
}

TEST(SubBlockOnTheDevice, LearnsAsOnTheCpu) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model dense = tiny_model({});
  const auto wanted = repaired_on(at::kCPU, dense);
  const auto results = repaired_on(kTestDevice, dense);
  ASSERT_EQ(results.size(), wanted.size());
  int better = 0;  // a part that does not learn in so few steps is left as it was
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_NEAR(results[i].error_before, wanted[i].error_before, 1e-3 * wanted[i].error_before);
    EXPECT_NEAR(results[i].error_after, wanted[i].error_after, 0.02 * wanted[i].error_after);
    EXPECT_LE(results[i].error_after, results[i].error_before);
    better += results[i].error_after < 0.99 * results[i].error_before;
  }
  EXPECT_GT(better, 0);
}

}  // namespace
}  // namespace prunus::test::sub_block_device_test
