// The one walk that measures all levels, against models made one by one.
#include "prunus/pipeline/sensitivity.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/model/overlay.h"
#include "prunus/pipeline/search.h"
#include "prunus/solve/refit.h"

#include "support/tiny_model.h"

namespace prunus::test::sensitivity_test {
namespace {

PruneRecipe recipe_of(const Model& model) {
  return resolve({.method = "prunus", .ratio = 0.5}, model.layer_count());
}

double divergence(const Model& dense, const Model& other, const at::Tensor& ids) {
  const at::Tensor p = logits_of(dense, ids).to(at::kDouble).log_softmax(-1);
  const at::Tensor q = logits_of(other, ids).to(at::kDouble).log_softmax(-1);
  return (p.exp() * (p - q)).sum(-1).mean().item<double>();
}

// The model with the levels, every part that is smaller fitted behind those before it.
Model built(const Model& dense, const std::vector<PartLevels>& parts,
            const std::vector<size_t>& levels, const std::vector<TokenBatch>& rows) {
  const Model cut = result_of(dense, plan_of_levels(dense, parts, levels), {});
  std::vector<int64_t> layers(static_cast<size_t>(dense.layer_count()));
  for (size_t i = 0; i < layers.size(); ++i) layers[i] = static_cast<int64_t>(i);
  std::map<std::string, at::Tensor> tensors;
  refit_outputs(cut, dense, layers, rows, at::kCPU, find_solver("least-squares"),
                {.ridge = 0.1, .residual_correction = 0},
                [&](int, const std::vector<OverlayTensor>& list) {
                  for (const OverlayTensor& one : list) tensors[one.tensor->name] = one.value;
                });
  return Model(cut.config(), std::make_shared<OverlaySource>(cut.shared_source(), tensors));
}

TEST(Sensitivity, IsThatOfModelsBuiltOneByOne) {
  for (const char* family : {"llama", "gemma2", "qwen2"}) {
    const Model dense = tiny_model({.family = family, .head_dim = 8, .kv_heads = 2, .ffn = 24});
    const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)},
                                       {random_ids(dense, 3, 12, 6)}};
    const at::Tensor held_out = random_ids(dense, 4, 12, 9);
    const std::vector<TokenBatch> judges{{held_out}};
    const std::vector<PartLevels> parts = levels_of(dense, recipe_of(dense), rows, nullptr);
    ASSERT_EQ(parts.size(), 4U);
    SensitivityMeter meter(dense, parts, rows, judges, {});
    std::vector<size_t> base;
    std::vector<std::vector<size_t>> wanted;
    for (const PartLevels& part : parts) {
      base.push_back(part.whole());
      wanted.push_back({0, part.whole() / 2});
    }
    for (int round = 0; round < 3; ++round) {
      const Sensitivity measured = meter.measure(base, wanted, 1);
      EXPECT_NEAR(measured.base, divergence(dense, built(dense, parts, base, rows), held_out),
                  2e-4);
      for (size_t p = 0; p < parts.size(); ++p) {
        for (const size_t level : wanted[p]) {
          if (level == base[p]) continue;
          std::vector<size_t> levels = base;
          levels[p] = level;
          if (round > 0 && p + 1 < parts.size()) continue;  // later parts are the base's own
          const double kl = divergence(dense, built(dense, parts, levels, rows), held_out);
          EXPECT_NEAR(measured.kl[p][level], kl, 2e-4 + 2e-3 * kl) << family << p << " " << level;
        }
        EXPECT_TRUE(std::isnan(measured.kl[p][parts[p].whole() - 1]) ||
                    wanted[p].back() == parts[p].whole() - 1);
      }
      // Smaller; then without parts of the last layer.
      for (size_t p = 0; p < parts.size(); ++p) {
        base[p] = round == 1 && parts[p].levels[0].dropped() ? 0 : parts[p].whole() / 2;
      }
    }
  }
}

TEST(Sensitivity, OfLevelsIsThatOnTheFirstTexts) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 24});
  const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)}};
  const std::vector<TokenBatch> one{{random_ids(dense, 2, 12, 9)}};
  const std::vector<TokenBatch> both{one[0], {random_ids(dense, 3, 12, 10)}};
  const std::vector<PartLevels> parts = levels_of(dense, recipe_of(dense), rows, nullptr);
  std::vector<size_t> base;
  for (const PartLevels& part : parts) base.push_back(part.whole());
  const std::vector<std::vector<size_t>> wanted(parts.size(), {1});
  SensitivityMeter of_one(dense, parts, rows, one, {});
  SensitivityMeter of_both(dense, parts, rows, both, {});
  const Sensitivity expected = of_one.measure(base, wanted, 1);
  const Sensitivity first = of_both.measure(base, wanted, 1);
  const Sensitivity all = of_both.measure(base, wanted, 2);
  for (size_t p = 0; p < parts.size(); ++p) {
    EXPECT_NEAR(first.kl[p][1], expected.kl[p][1], 1e-5);
    EXPECT_GT(std::abs(all.kl[p][1] - expected.kl[p][1]), 1e-5);
  }
}

TEST(PlanOfLevels, NamesDroppedPartsOnceForAllLayers) {
  const Model dense = tiny_model({.kv_heads = 2, .ffn = 24, .layers = 4});
  const std::vector<TokenBatch> rows{{random_ids(dense, 8, 12, 5)}};
  const std::vector<PartLevels> parts = levels_of(dense, recipe_of(dense), rows, nullptr);
  std::vector<size_t> levels;
  for (const PartLevels& part : parts) {
    const bool goes = part.layer > 1 && part.part == Part::Attention;
    levels.push_back(goes ? 0 : part.whole());
  }
  const Plan plan = plan_of_levels(dense, parts, levels);
  ASSERT_EQ(plan.entries.size(), 1U);
  EXPECT_EQ(plan.entries[0].keep.label, AxisLabel::AttentionPart);
  EXPECT_EQ(plan.entries[0].keep.units, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(plan.entries[0].units, 4);
  check_plan(plan, dense);
}

}  // namespace
}  // namespace prunus::test::sensitivity_test
