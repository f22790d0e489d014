// RowOrder and make_train_batches of train/train_data.h.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/train/train_data.h"

#include "support/expect_error.h"

namespace prunus::test::train_batches_test {
namespace {

using Ids = std::vector<int64_t>;
using Scored = std::vector<uint8_t>;

Ids steps_of(const RowOrder& order, int64_t begin, int64_t end) {
  Ids all;
  for (int64_t step = begin; step < end; ++step) {
    const Ids rows = order.rows_of(step);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

TEST(RowOrder, TakesEveryRowOnceInEveryEpochAndInAnotherOrder) {
  Ids sorted(10);
  std::iota(sorted.begin(), sorted.end(), 0);
  for (const int64_t per_step : {1, 3, 10, 25}) {
    const Ids all = steps_of(RowOrder(10, per_step, 4), 0, 50);
    ASSERT_EQ(std::ssize(all), 50 * per_step);
    std::set<Ids> orders;
    for (auto at = all.begin(); at != all.end(); at += 10) {
      Ids epoch(at, at + 10);
      orders.insert(epoch);
      std::sort(epoch.begin(), epoch.end());
      EXPECT_EQ(epoch, sorted);
    }
    EXPECT_EQ(std::ssize(orders), 5 * per_step);
  }
}

TEST(RowOrder, IsTheSameForAnObjectThatBeginsLater) {
  const Ids whole = steps_of(RowOrder(7, 3, 9), 0, 20);
  for (const int64_t begin : {1, 2, 7, 13}) {
    EXPECT_EQ(steps_of(RowOrder(7, 3, 9), begin, 20), Ids(whole.begin() + begin * 3, whole.end()));
  }
  const RowOrder order(7, 3, 9);
  const Ids late = order.rows_of(11);
  order.rows_of(0);
  EXPECT_EQ(order.rows_of(11), late);
}

TEST(RowOrder, DependsOnTheSeedAndTheNumberOfRowsAStepOnlyCutsIt) {
  EXPECT_NE(steps_of(RowOrder(9, 3, 1), 0, 3), steps_of(RowOrder(9, 3, 2), 0, 3));
  EXPECT_EQ(steps_of(RowOrder(9, 3, 1), 0, 8), steps_of(RowOrder(9, 4, 1), 0, 6));
  EXPECT_EQ(steps_of(RowOrder(1, 2, 1), 0, 2), Ids(4, 0));
}

TEST(RowOrder, RefusesNothingToTake) {
  expect_error(ErrorKind::InvalidArgument, "got 0 rows", [] { RowOrder(0, 1, 0); });
  expect_error(ErrorKind::InvalidArgument, "a step: got 0", [] { RowOrder(1, 0, 0); });
}

TEST(TrainBatches, PadOnTheRightAndPutSimilarLengthsTogether) {
  const std::vector<TrainRow> rows = {
      {{7, 8}, {0, 1}}, {{1, 2, 3, 4, 5}, {0, 0, 1, 0, 1}}, {{6, 5, 4}, {0, 1, 1}}};
  const auto batches = make_train_batches(rows, {2, 0, 1, 0}, 2);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_TRUE(at::equal(batches[0].ids,
                        at::tensor({1, 2, 3, 4, 5, 6, 5, 4, 0, 0}, at::kLong).view({2, 5})));
  EXPECT_TRUE(
      at::equal(batches[0].scored,
                at::tensor({0, 0, 1, 0, 1, 0, 1, 1, 0, 0}, at::kLong).view({2, 5}).to(at::kBool)));
  EXPECT_EQ(batches[0].targets, 4);
  EXPECT_TRUE(at::equal(batches[1].ids, at::tensor({7, 8, 7, 8}, at::kLong).view({2, 2})));
  EXPECT_EQ(batches[1].targets, 2);
}

TEST(TrainBatches, HoldEveryRowOnceWhateverTheirNumberAtATime) {
  std::vector<TrainRow> rows;
  Ids numbers;
  for (int64_t i = 0; i < 13; ++i) {
    const auto length = static_cast<size_t>(2 + (i * 5) % 7);
    rows.push_back({Ids(length, 100 + i), Scored(length, 1)});
    rows.back().scored[0] = 0;
    numbers.push_back(12 - i);
  }
  for (const int64_t micro : {1, 4, 13, 100}) {
    int64_t targets = 0;
    std::map<int64_t, int64_t> found;  // how often each row's id stands in the batches
    for (const TrainBatch& batch : make_train_batches(rows, numbers, micro)) {
      EXPECT_LE(batch.ids.size(0), micro);
      EXPECT_EQ(batch.ids.sizes(), batch.scored.sizes());
      EXPECT_EQ(batch.scored.sum().item<int64_t>(), batch.targets);
      EXPECT_FALSE(batch.scored.select(1, 0).any().item<bool>());
      EXPECT_FALSE(at::logical_and(batch.scored, batch.ids == 0).any().item<bool>());
      targets += batch.targets;
      const at::Tensor ids = batch.ids.flatten();
      for (int64_t k = 0; k < ids.numel(); ++k) ++found[ids[k].item<int64_t>()];
    }
    int64_t expected = 0;
    for (int64_t i = 0; i < 13; ++i) {
      const auto length = std::ssize(rows[static_cast<size_t>(i)].ids);
      EXPECT_EQ(found[100 + i], length);
      expected += length - 1;
    }
    EXPECT_EQ(targets, expected);
  }
}

TEST(TrainBatches, RefuseANumberThatNoRowHas) {
  const std::vector<TrainRow> rows = {{{7, 8}, {0, 1}}};
  EXPECT_TRUE(make_train_batches(rows, {}, 1).empty());
  expect_error(ErrorKind::InvalidArgument, "row 1 of 1", [&] {
    make_train_batches(rows, {0, 1}, 1);
  });
  expect_error(ErrorKind::InvalidArgument, "row -1", [&] { make_train_batches(rows, {-1}, 1); });
  expect_error(ErrorKind::InvalidArgument, "got 0", [&] { make_train_batches(rows, {0}, 0); });
}

}  // namespace
}  // namespace prunus::test::train_batches_test
