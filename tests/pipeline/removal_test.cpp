// The one walk that measures all units, against models built and run one by one in FP64.
#include "prunus/pipeline/removal.h"

#include <gtest/gtest.h>

#include "support/golden_models.h"
#include "support/plain_loss.h"
#include "support/sub_layers.h"

namespace prunus::test::removal_test {
namespace {

std::vector<Removal> units_of(const Model& model, bool parts) {
  std::vector<Removal> units;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    if (!parts) units.push_back({layer});
    for (const SubLayer part : kSubLayers) {
      const bool has = model.config().layers[static_cast<size_t>(layer)].has(part);
      if (parts && has) units.push_back({layer, part});
    }
  }
  return units;
}

void expect_losses_of_built_models(const Model& model, bool parts, const std::string& name) {
  const std::vector<TokenBatch> batches{{random_ids(model, 3, 9, 5)}, {random_ids(model, 1, 9, 6)}};
  const std::vector<Removal> units = units_of(model, parts);
  const RemovalLosses measured = losses_without(model, units, batches, {});
  EXPECT_NEAR(measured.whole, plain_loss(model, batches), 1e-5) << name;
  ASSERT_EQ(measured.without.size(), units.size());
  for (size_t i = 0; i < units.size(); ++i) {
    const double plain = plain_loss(without_unit(model, units[i].layer, units[i].part), batches);
    EXPECT_NEAR(measured.without[i], plain, 1e-5) << name << " unit " << i;
  }
}

// Norms before and behind the parts, parallel parts, ALiBi, learned positions, windows, experts.
TEST(LossesWithout, AreThoseOfModelsBuiltOneByOne) {
  for (const char* name :
       {"llama_gqa", "gemma2", "gpt_neox", "bloom", "opt", "opt_post", "mixtral"}) {
    const Model model = open_model(golden_dir(name));
    expect_losses_of_built_models(model, false, name);
    expect_losses_of_built_models(model, true, name);
  }
}

TEST(LossesWithout, OfAModelThatLacksPartsAlready) {
  Model model = tiny_model({.kv_heads = 2, .layers = 4});
  model = without(without(model, SubLayer::Attention, 1), SubLayer::FeedForward, 1);
  model = without(model, SubLayer::FeedForward, 2);
  expect_losses_of_built_models(model, false, "layers");
  expect_losses_of_built_models(model, true, "parts");
}

TEST(LossesWithout, AreTheSameInWaves) {
  const Model model = tiny_model({.layers = 5});
  const std::vector<TokenBatch> batches{{random_ids(model, 3, 9, 5)}, {random_ids(model, 1, 9, 6)}};
  const int64_t stream_bytes = 4 * 9 * model.config().hidden_size * 4;
  for (const bool parts : {false, true}) {
    const std::vector<Removal> units = units_of(model, parts);
    const RemovalLosses at_once = losses_without(model, units, batches, {});
    for (const int64_t streams : {0, 2, 3, 4, 6}) {
      const RemovalLosses in_waves =
          losses_without(model, units, batches, {.ram_bytes = streams * stream_bytes + 1});
      EXPECT_EQ(in_waves.without, at_once.without);
      EXPECT_EQ(in_waves.whole, at_once.whole);
    }
  }
}

TEST(LossesWithout, OfNoUnitAreTheModelsOwn) {
  const Model model = tiny_model({});
  const std::vector<TokenBatch> batches{{random_ids(model, 3, 9, 5)}};
  const RemovalLosses measured = losses_without(model, {}, batches, {});
  EXPECT_TRUE(measured.without.empty());
  EXPECT_NEAR(measured.whole, plain_loss(model, batches), 1e-5);
}

TEST(RemovalScores, AreOfTheSetTheyBelongTo) {
  const Model model = without(tiny_model({.layers = 3}), SubLayer::Attention, 1);
  const std::vector<TokenBatch> batches{{random_ids(model, 3, 9, 5)}};
  const Scores scores = removal_scores(model, part_sets(model), batches, {});
  ASSERT_EQ(scores.sets.size(), 2U);
  ASSERT_EQ(scores.sets[0].scores.size(), 2U);
  ASSERT_EQ(scores.sets[1].scores.size(), 3U);
  const auto loss = [&](int64_t layer, SubLayer part) {
    return plain_loss(without_unit(model, layer, part), batches);
  };
  EXPECT_NEAR(scores.sets[0].scores[1], loss(2, SubLayer::Attention), 1e-5);
  EXPECT_NEAR(scores.sets[1].scores[1], loss(1, SubLayer::FeedForward), 1e-5);
  EXPECT_NEAR(scores.sets[1].scores[2], loss(2, SubLayer::FeedForward), 1e-5);
}

}  // namespace
}  // namespace prunus::test::removal_test
