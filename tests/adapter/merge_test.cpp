#include "prunus/adapter/merge.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace prunus::merge_test {
namespace {

TEST(MergedSource, AddsTheUpdateInFp32AndCountsWhatASparseWeightLeavesOut) {
  const Model model = test::tiny_model({});
  const auto weights = test::copy_weights(model);
  const TensorInfo& up = model.tensor(Role::UpProj, 0);
  at::Tensor& stored = weights->tensors[up.name];
  stored.select(0, 3).zero_();  // one row of twelve: 8 % zeros
  LoraAdapter adapter;
  const at::Tensor a = at::ones({1, up.shape[1]});
  const at::Tensor b = at::ones({up.shape[0], 1});
  adapter.pairs[{0, Role::UpProj}] = {a, b, 0.5};
  const MergedSource source(weights, adapter);
  const at::Tensor merged = source.read(up);
  EXPECT_TRUE(at::equal(merged.select(0, 3), at::zeros({up.shape[1]})));
  EXPECT_TRUE(at::equal(merged.select(0, 2), stored.select(0, 2) + 0.5));
  const MergeReport report = source.report();
  EXPECT_EQ(report.sparse_weights, 1);
  EXPECT_EQ(report.kept_zeros, up.shape[1]);
  const auto elements = static_cast<double>(up.shape[0] * up.shape[1]);
  EXPECT_NEAR(report.update_norm, 0.5 * std::sqrt(elements), 1e-6);
  EXPECT_NEAR(report.masked_norm, 0.5 * std::sqrt(static_cast<double>(up.shape[1])), 1e-6);
}

}  // namespace
}  // namespace prunus::merge_test
