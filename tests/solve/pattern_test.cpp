#include "prunus/solve/pattern.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::pattern_test {
namespace {

// By sorting: of so many scores the lowest go, of equal ones the first.
std::vector<bool> by_sorting(const std::vector<double>& scores, size_t removed) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  std::vector<bool> kept(scores.size(), true);
  for (size_t i = 0; i < removed; ++i) kept[order[i]] = false;
  return kept;
}

std::vector<double> values(const at::Tensor& row) {
  const at::Tensor plain = row.to(at::kDouble).contiguous();
  return {plain.const_data_ptr<double>(), plain.const_data_ptr<double>() + plain.numel()};
}

// Few different values, so that there are ties.
at::Tensor scores_with_ties(int64_t rows, int64_t columns) {
  at::manual_seed(3);
  return at::randint(0, 6, {rows, columns}, at::kFloat) / 3;
}

TEST(Pattern, RowTakesTheLowestOfEachRow) {
  for (const int64_t columns : {1, 7, 64, 301}) {
    const at::Tensor scores = scores_with_ties(5, columns);
    for (const double sparsity : {0.0, 0.3, 0.5, 0.99}) {
      const at::Tensor kept = kept_by({}, scores, sparsity);
      ASSERT_EQ(kept.sizes(), scores.sizes());
      for (int64_t row = 0; row < 5; ++row) {
        const auto removed = static_cast<size_t>(static_cast<double>(columns) * sparsity);
        const std::vector<bool> want = by_sorting(values(scores[row]), removed);
        for (int64_t i = 0; i < columns; ++i) {
          EXPECT_EQ(kept[row][i].item<bool>(), want[static_cast<size_t>(i)])
              << columns << " " << sparsity << " " << row << " " << i;
        }
      }
    }
  }
}

TEST(Pattern, NofMKeepsNOfEveryM) {
  const at::Tensor scores = scores_with_ties(4, 22);  // five groups of four and two
  const at::Tensor kept = kept_by(parse_pattern("1:4"), scores, 0);
  for (int64_t row = 0; row < 4; ++row) {
    for (int64_t begin = 0; begin < 22; begin += 4) {
      const int64_t size = std::min<int64_t>(4, 22 - begin);
      const std::vector<bool> want =
          by_sorting(values(scores[row].narrow(0, begin, size)), static_cast<size_t>(size - 1));
      for (int64_t i = 0; i < size; ++i) {
        EXPECT_EQ(kept[row][begin + i].item<bool>(), want[static_cast<size_t>(i)]);
      }
    }
  }
}

TEST(Pattern, EveryDtypeAndLayoutGivesTheSame) {
  at::manual_seed(1);
  const at::Tensor scores = at::rand({6, 12}).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor want = kept_by({}, scores, 0.5);
  EXPECT_TRUE(at::equal(kept_by({}, scores.to(at::kDouble), 0.5), want));
  EXPECT_TRUE(at::equal(kept_by({}, scores.to(at::kBFloat16), 0.5), want));
  EXPECT_TRUE(at::equal(kept_by({}, scores.t().contiguous().t(), 0.5), want));
}

TEST(Pattern, RefusesScoresThatAreNotFinite) {
  at::Tensor scores = at::ones({2, 4});
  scores[1][2] = std::numeric_limits<float>::quiet_NaN();
  expect_error(ErrorKind::Numeric, "not finite", [&] { kept_by({}, scores, 0.5); });
}

TEST(Pattern, NamesComeBack) {
  for (const char* name : {"row", "2:4", "4:8", "1:64"}) {
    EXPECT_EQ(pattern_name(parse_pattern(name)), name);
  }
  EXPECT_EQ(sparsity_of(parse_pattern("1:4"), 0.1), 0.75);
  EXPECT_EQ(sparsity_of({}, 0.1), 0.1);
  for (const char* name : {"", "rows", "4:2", "2:2", "0:4", "2:65", "2:", ":4", "2:4x", "-1:4"}) {
    expect_error(ErrorKind::InvalidArgument, "expected row, or N:M", [&] { parse_pattern(name); });
  }
}

}  // namespace
}  // namespace prunus::test::pattern_test
