// Wanda-sp's scores against sums written out in FP64.
#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/golden_models.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::wanda_sp_test {
namespace {

// Σ_i |W[i, j]|·‖x_j‖ of the columns j of each unit, `columns` to a unit.
std::vector<double> expected(const at::Tensor& weight, const at::Tensor& x, int64_t columns) {
  std::vector<double> scores;
  for (int64_t first = 0; first < weight.size(1); first += columns) {
    double sum = 0;
    for (int64_t j = first; j < first + columns; ++j) {
      double norm = 0;
      for (int64_t t = 0; t < x.size(0); ++t) {
        norm += x[t][j].item<double>() * x[t][j].item<double>();
      }
      for (int64_t i = 0; i < weight.size(0); ++i) {
        sum += std::abs(weight[i][j].item<double>()) * std::sqrt(norm);
      }
    }
    scores.push_back(sum);
  }
  return scores;
}

TEST(WandaSp, WeighsTheColumnsThatReadAUnitByTheirInputs) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<TokenBatch> batches = {{random_ids(model, 2, 7, 1)},
                                           {random_ids(model, 1, 7, 2)}};
  const RecordedInputs seen(model, batches);
  const Plan plan = make_plan(model, batches, {.method = "wanda-sp", .ratio = 0.5}).plan;
  ASSERT_EQ(plan.entries.size(), 4u);
  for (const PlanEntry& entry : plan.entries) {
    const Role role = entry.keep.label == AxisLabel::Ffn ? Role::DownProj : Role::OProj;
    const at::Tensor weight = model.source().read(model.tensor(role, entry.keep.layer));
    const std::vector<double> want =
        expected(weight, seen.input(entry.keep.layer, role), weight.size(1) / entry.units);
    ASSERT_EQ(entry.scores.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(entry.scores[i], want[i], 1e-5 * want[i]) << i;
    }
    EXPECT_EQ(static_cast<int64_t>(entry.keep.units.size()), entry.units / 2);
  }
}

// Each expert's channels by the tokens that chose it; columns lie one expert after the other.
TEST(WandaSp, WeighsTheChannelsOfExpertsByTheirOwnTokens) {
  const Model model = open_model(golden_dir("mixtral"));
  const std::vector<TokenBatch> batches = {{random_ids(model, 2, 9, 1)}};
  const RecordedInputs seen(model, batches);
  const Plan plan = make_plan(model, batches, {.method = "wanda-sp", .ratio = 0.5}).plan;
  int64_t sets = 0;
  for (const PlanEntry& entry : plan.entries) {
    if (entry.keep.label != AxisLabel::Ffn) continue;
    ++sets;
    const int layer = entry.keep.layer;
    const auto experts = model.config().layers[static_cast<size_t>(layer)].experts;
    const at::Tensor weight = model.source().read(model.tensor(Role::DownProj, layer));
    const int64_t width = weight.size(1) / experts;
    std::vector<double> want;
    for (int expert = 0; expert < experts; ++expert) {
      const at::Tensor own = weight.narrow(1, expert * width, width);
      at::Tensor x = seen.input(layer, Role::DownProj, expert);
      if (!x.defined()) x = at::zeros({0, width}, at::kDouble);
      const std::vector<double> scores = expected(own, x, 1);
      want.insert(want.end(), scores.begin(), scores.end());
    }
    ASSERT_EQ(entry.scores.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(entry.scores[i], want[i], 1e-5 * want[i] + 1e-12) << i;
    }
  }
  EXPECT_EQ(sets, model.layer_count());
}

}  // namespace
}  // namespace prunus::test::wanda_sp_test
