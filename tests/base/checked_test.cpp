#include "prunus/base/checked.h"

#include <gtest/gtest.h>

namespace prunus::checked_test {
namespace {

TEST(Checked, MultipliesUpToTheLastValueThatFits) {
  EXPECT_EQ(checked_mul(6, 7), 42);
  EXPECT_EQ(checked_mul(0, UINT64_MAX), 0);
  EXPECT_EQ(checked_mul(UINT64_MAX, 1), UINT64_MAX);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), UINT64_MAX - 4294967295);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_mul(UINT64_MAX, 2), std::nullopt);
}

TEST(Checked, AddsUpToTheLastValueThatFits) {
  EXPECT_EQ(checked_add(UINT64_MAX - 1, 1), UINT64_MAX);
  EXPECT_EQ(checked_add(UINT64_MAX, 1), std::nullopt);
}

}  // namespace
}  // namespace prunus::checked_test
