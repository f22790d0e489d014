#include "prunus/base/memory.h"

#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace prunus::memory_test {
namespace {

TEST(PeakMemory, GrowsByWhatWasTouchedAndNeverFalls) {
  constexpr uint64_t kBytes = uint64_t{64} << 20;
  const uint64_t before = peak_memory_bytes();
  EXPECT_GT(before, 0u);
  {
    std::vector<char> block(before + kBytes, 1);  // more than anything resident so far
    EXPECT_EQ(block.back(), 1);
  }
  const uint64_t after = peak_memory_bytes();
  EXPECT_GE(after, before + kBytes);
  EXPECT_GE(peak_memory_bytes(), after);
}

TEST(PeakDeviceBytes, AreNotToldOfTheCpu) { EXPECT_FALSE(peak_device_bytes(c10::kCPU)); }

TEST(AvailableMemory, IsSomethingAndNoMoreThanTheMachineHas) {
  const auto pages = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_GT(available_memory_bytes(), uint64_t{1} << 20);
  EXPECT_LE(available_memory_bytes(), pages * page);
}

}  // namespace
}  // namespace prunus::memory_test
