// Magnitude's zeros against sorting in FP64.
#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/pipeline/masks.h"
#include "prunus/pipeline/prune.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::magnitude_test {
namespace {

// A row without its ⌊n · sparsity⌋ values of least magnitude, of equal ones the first.
std::vector<double> expected(const at::Tensor& row, double sparsity) {
  std::vector<double> values;
  for (int64_t i = 0; i < row.size(0); ++i) values.push_back(row[i].item<double>());
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::abs(values[a]) < std::abs(values[b]); });
  const auto removed = static_cast<size_t>(static_cast<double>(values.size()) * sparsity);
  for (size_t i = 0; i < removed; ++i) values[order[i]] = 0;
  return values;
}

TEST(Magnitude, ZeroesTheSmallestOfEachRow) {
  const Model model = tiny_model({.kv_heads = 2});
  const TempDir folder;
  const PruneOptions options{.method = "magnitude", .sparsity = 0.6};
  const PlanResult result = make_plan(model, {.mask_dir = folder.path()}, options);
  EXPECT_TRUE(result.plan.entries.empty());
  const Model sparse = masked(model, folder.path());
  int64_t matrices = 0;
  for (const TensorInfo& tensor : model.tensors()) {
    const at::Tensor before = model.source().read(tensor);
    const at::Tensor after = sparse.source().read(tensor);
    if (tensor.layer < 0 || tensor.spec->rank != 2) {
      EXPECT_TRUE(at::equal(after, before)) << tensor.name;
      continue;
    }
    ++matrices;
    for (int64_t row = 0; row < before.size(0); ++row) {
      const std::vector<double> want = expected(before[row], 0.6);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(after[row][static_cast<int64_t>(i)].item<double>(), want[i]) << tensor.name;
      }
    }
  }
  EXPECT_EQ(matrices, 2 * 7);
}

TEST(Magnitude, TakesHalfUnlessToldOtherwise) {
  const Model model = tiny_model({});
  const TempDir folder;
  const PlanResult result =
      make_plan(model, {.mask_dir = folder.path()}, PruneOptions{.method = "magnitude"});
  ASSERT_TRUE(result.plan.mask.has_value());
  EXPECT_EQ(result.plan.mask->sparsity, 0.5);
  const MaskSummary summary = count_masks(model, mask_files(model, folder.path()));
  EXPECT_EQ(summary.zeros * 2, summary.weights);
}

}  // namespace
}  // namespace prunus::test::magnitude_test
