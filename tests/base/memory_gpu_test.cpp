#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/memory.h"

#include "support/device.h"

namespace prunus::memory_gpu_test {
namespace {

TEST(PeakDeviceBytesOnCuda, GrowByATensorAndNeverFall) {
  PRUNUS_NEED_DEVICE(at::kCUDA);
  constexpr int64_t kBytes = int64_t{64} << 20;
  at::empty({1}, at::device(at::kCUDA));
  const auto before = peak_device_bytes(at::kCUDA);
  if (!before) GTEST_SKIP() << "skipped: this libtorch does not tell";
  at::empty({static_cast<int64_t>(*before) + kBytes}, at::device(at::kCUDA).dtype(at::kByte));
  const auto after = peak_device_bytes(at::kCUDA);
  ASSERT_TRUE(after);
  EXPECT_GE(*after, *before + kBytes);
}

}  // namespace
}  // namespace prunus::memory_gpu_test
