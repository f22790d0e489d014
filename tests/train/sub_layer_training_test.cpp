// Training of models some of whose layers lack a sub-layer: the gradients of what is left are those
// beside a sub-layer that puts out zeros.
#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/train/train_model.h"

#include "support/golden_models.h"
#include "support/sub_layers.h"

namespace prunus::test::sub_layer_training_test {
namespace {

constexpr LossWeights kPlain{.ce = 1};

TrainBatch batch_of(const Model& model) {
  TrainBatch batch;
  batch.ids = random_ids(model, 2, 8);
  batch.scored = at::ones({2, 8}, at::kBool);
  batch.scored.select(1, 0).fill_(false);
  batch.targets = 14;
  return batch;
}

std::map<std::string, at::Tensor> gradients(TrainModel& model, const TrainBatch& batch) {
  model.run(batch,
            {.weights = kPlain, .seams = {}, .scale = 1.0 / static_cast<double>(batch.targets)});
  std::map<std::string, at::Tensor> found;
  for (const Parameter& one : model.parameters()) found[one.name] = one.value.grad();
  return found;
}

LoraAdapter random_adapter(const Model& model) {
  LoraAdapter adapter = LoraAdapter::make(model, {.r = 3, .alpha = 6}, 4, at::kCPU);
  for (auto& [place, pair] : adapter.pairs) {
    at::Generator generator = at::detail::createCPUGenerator(
        static_cast<uint64_t>(place.first * kRoleCount + static_cast<int>(place.second)));
    pair.b.copy_(0.1 * at::randn(pair.b.sizes(), generator, at::kFloat));
  }
  return adapter;
}

void expect_same(const std::map<std::string, at::Tensor>& got,
                 const std::map<std::string, at::Tensor>& meant, const std::string& what) {
  EXPECT_FALSE(got.empty());
  for (const auto& [name, gradient] : got) {
    ASSERT_TRUE(meant.contains(name)) << name;
    ASSERT_TRUE(gradient.defined() && meant.at(name).defined()) << name;
    EXPECT_LT(relative_error(gradient, meant.at(name)), 1e-4) << what << ": " << name;
  }
}

class SubLayerTraining : public testing::TestWithParam<std::string> {};

TEST_P(SubLayerTraining, OfEverythingHasTheGradientsBesideASilentOne) {
  const Model model = open_model(golden_dir(GetParam()));
  const TrainBatch batch = batch_of(model);
  for (const SubLayer part : kSubLayers) {
    const Model less = without(model, part, 0);
    const Model quiet = silenced(model, part, 0);
    for (const bool checkpoints : {false, true}) {
      const TrainModelOptions options{.checkpoint_blocks = checkpoints};
      TrainModel dropped(less, at::kCPU, options);
      TrainModel silent(quiet, at::kCPU, options);
      expect_same(gradients(dropped, batch), gradients(silent, batch), name_of(part));
    }
  }
}

// Adapters of the silent sub-layer have B = 0, which keeps it silent.
TEST_P(SubLayerTraining, OfAdaptersHasTheGradientsBesideASilentOne) {
  const Model model = open_model(golden_dir(GetParam()));
  const TrainBatch batch = batch_of(model);
  for (const SubLayer part : kSubLayers) {
    const Model less = without(model, part, 1);
    const Model silent = silenced(model, part, 1);
    for (const bool checkpoints : {false, true}) {
      LoraAdapter beside = random_adapter(model);
      for (auto& [place, pair] : beside.pairs) {
        if (place.first == 1 && sub_layer_of(place.second) == part) pair.b.zero_();
      }
      const TrainModelOptions options{.checkpoint_blocks = checkpoints};
      TrainModel dropped(less, at::kCPU, options, random_adapter(less));
      TrainModel quiet(silent, at::kCPU, options, beside);
      expect_same(gradients(dropped, batch), gradients(quiet, batch), name_of(part));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, SubLayerTraining,
                         testing::Values("llama_gqa", "gemma3_text", "gpt_neox", "bloom",
                                         "qwen2_moe", "olmo2"),
                         [](const auto& one) { return one.param; });

// A layer that lost both parts is passed by, the first and the last too.
TEST(SubLayersTrained, PassByALayerWithoutEither) {
  const Model whole = tiny_model({.kv_heads = 2, .layers = 3});
  const TrainBatch batch = batch_of(whole);
  for (const int layer : {0, 1, 2}) {
    const Model less =
        without(without(whole, SubLayer::Attention, layer), SubLayer::FeedForward, layer);
    const Model quiet =
        silenced(silenced(whole, SubLayer::Attention, layer), SubLayer::FeedForward, layer);
    TrainModel dropped(less, at::kCPU, {});
    TrainModel silent(quiet, at::kCPU, {});
    expect_same(gradients(dropped, batch), gradients(silent, batch), std::to_string(layer));
  }
}

}  // namespace
}  // namespace prunus::test::sub_layer_training_test
