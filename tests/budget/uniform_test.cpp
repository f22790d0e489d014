#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/budget/budget.h"

namespace prunus::test {
namespace {

// A set of `units` whose narrowest member has `width` slices per unit.
ScoredSet set_of(int64_t units, int64_t width, int64_t query_heads = 1) {
  GroupSet set{AxisLabel::KvGroup, 0, units, {}};
  set.members.push_back({{}, 0, width * query_heads});
  set.members.push_back({{}, 0, width});
  return {set, std::vector<double>(static_cast<size_t>(units), 1.0)};
}

int64_t removed(const ScoredSet& set, double ratio) {
  return budget::all()[0]->remove({&set, 1}, ratio).at(0);
}

// The reference's published counts (LLM-Pruner at 128a07d; LLaMA-7B and Llama-3-8B shapes).
TEST(Uniform, RemovesTheReferencesCounts) {
  EXPECT_EQ(removed(set_of(11008, 1), 0.25), 11008 - 8256);
  EXPECT_EQ(removed(set_of(32, 128), 0.25), 8);  // MHA: 32 → 24
  EXPECT_EQ(removed(set_of(11008, 1), 0.6), 11008 - 4403);
  EXPECT_EQ(removed(set_of(32, 128), 0.6), 32 - 13);
  EXPECT_EQ(removed(set_of(14336, 1), 0.25), 14336 - 10752);
  EXPECT_EQ(removed(set_of(8, 128, 4), 0.25), 2);  // GQA: 8 KV groups → 6
  EXPECT_EQ(removed(set_of(4, 8, 2), 0.2), 0);     // less than one head: none
}

TEST(Uniform, NeverEmptiesASet) {
  // 10·(1 − 0.8) is 1.9999999999999996 in double arithmetic, so 1 stays; at 0.9 none would.
  EXPECT_EQ(removed(set_of(10, 1), 0.8), 9);
  EXPECT_THROW(removed(set_of(10, 1), 0.9), Error);
  EXPECT_THROW(removed(set_of(10, 1), 0.99), Error);
}

TEST(Uniform, RemovesNothingAtRatioZero) { EXPECT_EQ(removed(set_of(10, 1), 0.0), 0); }

}  // namespace
}  // namespace prunus::test
