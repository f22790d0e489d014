#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/model/lm_head.h"
#include "prunus/pipeline/score.h"

#include "support/device.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::decoder_device_test {
namespace {

TEST(DecoderOnTheDevice, GivesTheLogitsOfTheCpu) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const at::NoGradGuard no_grad;
  for (const char* family : {"llama", "qwen2", "qwen3", "mistral"}) {
    const Model model = tiny_model({.family = family, .kv_heads = 2});
    const at::Tensor ids = random_ids(model, 2, 9);
    const BlockStream stream(model, kTestDevice);
    std::vector<at::Tensor> hidden = stream.embed({{ids}});
    stream.forward(hidden);
    const at::Tensor logits =
        LmHead(model, kTestDevice).logits(hidden[0].to(kTestDevice).flatten(0, 1)).cpu();
    EXPECT_LT(relative_error(logits, logits_of(model, ids).flatten(0, 1)), 1e-4) << family;
  }
}

// The sets of one axis.
std::vector<GroupSet> sets_of(const Model& model, AxisLabel label) {
  std::vector<GroupSet> sets = find_groups(model);
  std::erase_if(sets, [&](const GroupSet& set) { return set.label != label; });
  return sets;
}

void expect_scores_of_the_cpu(const Model& model, AxisLabel label, const Criterion& criterion) {
  const std::vector<TokenBatch> batches{{random_ids(model, 4, 12)}};
  const auto sets = sets_of(model, label);
  ASSERT_FALSE(sets.empty());
  const LayerRange all{0, model.layer_count()};
  const Scores want = score_groups(model, sets, criterion, batches, all, {});
  const Scores got =
      score_groups(model, sets, criterion, batches, all, {.device = at::Device(kTestDevice)});
  for (size_t i = 0; i < sets.size(); ++i) {
    for (size_t u = 0; u < want.sets[i].scores.size(); ++u) {
      const double score = want.sets[i].scores[u];
      EXPECT_NEAR(got.sets[i].scores[u], score, 1e-3 * score + 1e-5)
          << criterion.name << ", " << sets[i].name() << ", unit " << u;
    }
  }
}

TEST(ScoresOnTheDevice, EqualThoseOfTheCpu) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model model = tiny_model({.kv_heads = 2});
  for (const Criterion* criterion : criteria::all()) {
    if (criterion->needs.has(stats::expert_output)) continue;  // below: of mixtures only
    for (const AxisLabel label : {AxisLabel::KvGroup, AxisLabel::Ffn, AxisLabel::Hidden}) {
      expect_scores_of_the_cpu(model, label, *criterion);
    }
  }
}

TEST(ScoresOnTheDevice, OfExpertsEqualThoseOfTheCpuByEveryCriterion) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model model = open_model(golden_dir("mixtral"));
  for (const Criterion* criterion : criteria::all()) {
    expect_scores_of_the_cpu(model, AxisLabel::Expert, *criterion);
  }
}

}  // namespace
}  // namespace prunus::test::decoder_device_test
