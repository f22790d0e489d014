#include "prunus/base/cpu.h"

#include <gmock/gmock.h>

namespace prunus::cpu_test {
namespace {

TEST(CpuLevels, EndWithThePortableOneAndFallFromTheHighest) {
  const std::vector<CpuLevel> levels = cpu_levels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.front(), cpu_level());
  EXPECT_EQ(levels.back(), CpuLevel::Portable);
  EXPECT_TRUE(std::is_sorted(levels.rbegin(), levels.rend()));
}

TEST(CpuLevels, HaveNames) {
  EXPECT_EQ(name_of_cpu_level(CpuLevel::Portable), "portable");
  EXPECT_EQ(name_of_cpu_level(CpuLevel::Avx2), "avx2");
  EXPECT_EQ(name_of_cpu_level(CpuLevel::Avx512), "avx512");
  EXPECT_EQ(name_of_cpu_level(CpuLevel::Avx512Vbmi), "avx512vbmi");
  EXPECT_EQ(name_of_cpu_level(CpuLevel::Avx512Bf16), "avx512bf16");
}

}  // namespace
}  // namespace prunus::cpu_test
