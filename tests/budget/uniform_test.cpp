#include <gtest/gtest.h>

#include "prunus/budget/budget.h"

namespace prunus::test::uniform_test {
namespace {

// A set of `units` whose narrowest member has `width` slices per unit.
ScoredSet set_of(int64_t units, int64_t width, int64_t query_heads = 1) {
  GroupSet set{AxisLabel::KvGroup, 0, units};
  set.members.push_back({{}, 0, 1, width * query_heads});
  set.members.push_back({{}, 0, 1, width});
  return {set, std::vector<double>(static_cast<size_t>(units), 1.0)};
}

const Budget& budget_of(std::string_view name) {
  for (const Budget* one : budget::all()) {
    if (one->name == name) return *one;
  }
  throw std::logic_error("no such budget");
}

int64_t removed(const ScoredSet& set, double ratio, int64_t round_to = 1) {
  return budget_of("llm_pruner_uniform")
      .remove({.sets = {&set, 1}, .ratios = {&ratio, 1}, .round_to = round_to})
      .at(0);
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

TEST(Uniform, TruncatesInDoubleArithmetic) {
  // 10·(1 − 0.8) is 1.9999999999999996 in double arithmetic, so 1 stays; at 0.9 none would.
  EXPECT_EQ(removed(set_of(10, 1), 0.8), 9);
  EXPECT_EQ(removed(set_of(10, 1), 0.9), 10);
}

TEST(Uniform, RemovesNothingAtRatioZero) { EXPECT_EQ(removed(set_of(10, 1), 0.0), 0); }

TEST(Uniform, CountsFromTheStartOfAnIterativeRun) {
  ScoredSet halfway = set_of(75, 1);
  halfway.initial_units = 100;
  EXPECT_EQ(removed(halfway, 0.5), 25);
  EXPECT_EQ(removed(halfway, 0.2), 0);  // more is gone already
}

TEST(Uniform, RoundsTheSlicesRemovedAsTheReference) {
  EXPECT_EQ(removed(set_of(100, 1), 0.25, 8), 24);
  EXPECT_EQ(removed(set_of(8, 16), 0.3, 16), 2);  // 39 slices → 32 → 2 heads
}

TEST(Uniform, TakesTheSameFromEveryShare) {
  ScoredSet heads = set_of(32, 128);  // 8 KV groups of 4 query heads
  heads.set.shares = 8;
  EXPECT_EQ(removed(heads, 0.25), 1);
}

}  // namespace
}  // namespace prunus::test::uniform_test
