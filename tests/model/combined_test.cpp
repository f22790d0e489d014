#include "prunus/model/combined.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace prunus::test::combined_test {
namespace {

TEST(Combined, AddsUpWeightsAndLeavesTheOthers) {
  const Model model = tiny_model({.layers = 3});
  const auto up = [&](int layer) { return model.tensor(Role::UpProj, layer); };
  const Model changed = combined(model, [&](const TensorInfo& tensor) {
    if (tensor.layer != 1 || tensor.spec->role != Role::UpProj) return WeightTerms();
    return WeightTerms{{2, up(0)}, {-0.5, up(2)}};
  });
  const at::Tensor wanted = model.source().read(up(0)) * 2 - model.source().read(up(2)) * 0.5;
  EXPECT_TRUE(at::allclose(changed.source().read(up(1)), wanted));
  EXPECT_TRUE(at::equal(changed.source().read_rows(up(1), 3, 2),
                        changed.source().read(up(1)).narrow(0, 3, 2)));
  const at::Tensor rows = at::tensor({4, 1}, at::kLong);
  EXPECT_TRUE(at::equal(changed.source().select_rows(up(1), rows),
                        changed.source().read(up(1)).index_select(0, rows)));
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.name == up(1).name) continue;
    EXPECT_TRUE(at::equal(changed.source().read(tensor), model.source().read(tensor)));
  }
}

}  // namespace
}  // namespace prunus::test::combined_test
