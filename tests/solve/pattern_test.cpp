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

// Positions of a group in row-major order, as all scores are compared.
std::vector<double> block_of(const at::Tensor& scores, int64_t begin, int64_t width) {
  return values(scores.narrow(1, begin, width).flatten());
}

TEST(Pattern, LayerAndBlockCompareAllRows) {
  const at::Tensor scores = scores_with_ties(5, 22);
  for (const auto& [name, width] : {std::pair("layer", 22), std::pair("block:8", 8)}) {
    const Pattern pattern = parse_pattern(name);
    for (const int64_t zeros : {0, 1, 37, 55, 109}) {
      const at::Tensor kept = kept_without(pattern, scores, zeros);
      EXPECT_EQ((kept.numel() - kept.sum().item<int64_t>()), zeros);
      for (int64_t begin = 0; begin < 22; begin += width) {
        const int64_t end = std::min<int64_t>(22, begin + width);
        const auto removed = static_cast<size_t>(zeros * end / 22 - zeros * begin / 22);
        const std::vector<bool> want = by_sorting(block_of(scores, begin, end - begin), removed);
        const at::Tensor got = kept.narrow(1, begin, end - begin).flatten();
        for (size_t i = 0; i < want.size(); ++i) {
          EXPECT_EQ(got[static_cast<int64_t>(i)].item<bool>(), want[i]) << name << " " << zeros;
        }
      }
    }
  }
}

// So many that their bits are looked at first; of both signs, with ties.
TEST(Pattern, ManyScoresAreRankedAsFewAre) {
  at::manual_seed(4);
  const at::Tensor scores = (at::randn({140, 150}) * 1e3).round() / 64;
  for (const int64_t zeros : {1, 5000, 10500, 20999, 21000}) {
    const at::Tensor kept = kept_without(parse_pattern("layer"), scores, zeros).flatten();
    const std::vector<bool> want = by_sorting(values(scores.flatten()), static_cast<size_t>(zeros));
    const bool* got = kept.const_data_ptr<bool>();
    EXPECT_TRUE(std::equal(want.begin(), want.end(), got)) << zeros;
  }
}

TEST(Pattern, RowsLoseAsManyToOneWeight) {
  const at::Tensor kept = kept_without({}, scores_with_ties(5, 22), 37);
  const at::Tensor lost = kept.logical_not().sum(1);
  EXPECT_TRUE(at::equal(lost, at::tensor({8, 8, 7, 7, 7}, at::kLong)));
}

TEST(Pattern, ZerosAreThoseThatTheMasksHave) {
  const at::Tensor scores = scores_with_ties(5, 22);
  for (const char* name : {"row", "layer", "block:8", "1:4", "4:8"}) {
    const Pattern pattern = parse_pattern(name);
    const at::Tensor kept = kept_by(pattern, scores, 0.37);
    EXPECT_EQ(zeros_of(pattern, 5, 22, 0.37), kept.numel() - kept.sum().item<int64_t>()) << name;
  }
  EXPECT_EQ(zeros_of({}, 5, 22, 0.37), 5 * 8);
  EXPECT_EQ(zeros_of(parse_pattern("layer"), 5, 22, 0.37), 40);
  EXPECT_EQ(zeros_of(parse_pattern("1:4"), 5, 22, 0), 5 * 16);
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
  for (const char* name : {"row", "layer", "block:128", "2:4", "4:8", "1:64"}) {
    EXPECT_EQ(pattern_name(parse_pattern(name)), name);
  }
  EXPECT_EQ(sparsity_of(parse_pattern("1:4"), 0.1), 0.75);
  EXPECT_EQ(sparsity_of({}, 0.1), 0.1);
  for (const char* name : {"", "rows", "4:2", "2:2", "0:4", "2:65", "2:", ":4", "2:4x", "-1:4",
                           "block:", "block:0", "block:x"}) {
    expect_error(ErrorKind::InvalidArgument, "expected row, layer", [&] { parse_pattern(name); });
  }
}

}  // namespace
}  // namespace prunus::test::pattern_test
