#include "prunus/pipeline/masks.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream_store.h"
#include "prunus/pipeline/prune.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/recorded_inputs.h"
#include "support/stopping_source.h"
#include "support/tiny_model.h"

namespace prunus::test::masks_test {
namespace {

// |W|·‖x‖, each column's norm summed up in FP64.
at::Tensor wanda(const at::Tensor& weight, const at::Tensor& input) {
  return weight.to(at::kDouble).abs() * input.to(at::kDouble).square().sum(0).sqrt();
}

std::vector<TokenBatch> batches_of(const Model& model) {
  return {{random_ids(model, 2, 7, 1)}, {random_ids(model, 1, 7, 2)}};
}

class Masks : public testing::Test {
 protected:
  LayerFiles files(const Model& model) const { return mask_files(model, folder_.path()); }
  const TempDir folder_;
};

// The second layer is scored by what enters it behind the first one's zeros.
TEST_F(Masks, ForwardScoresSeeTheLayersMaskedBefore) {
  const Model model = tiny_model({.kv_heads = 2, .layers = 3});
  const std::vector<TokenBatch> batches = batches_of(model);
  const PruneRecipe recipe =
      resolve({.method = "wanda-sp", .structure = Structure::Weight, .sparsity = 0.5}, 3);
  choose_masks(model, recipe, batches, files(model), nullptr);
  for (int layer = 0; layer < 3; ++layer) {
    // Masks of the layers in front of it alone.
    const TempDir prefix;
    const LayerFiles before = mask_files(model, prefix.path());
    for (int one = 0; one < layer; ++one) before.keep(one, files(model).restore(one));
    const RecordedInputs seen(masked(model, prefix.path()), batches);
    ASSERT_EQ(files(model).restore(layer).size(), 7u);
    for (const OverlayTensor& one : files(model).restore(layer)) {
      const at::Tensor scores =
          wanda(model.source().read(*one.tensor), seen.input(layer, one.tensor->spec->role));
      EXPECT_TRUE(at::equal(unpack_mask(one.value, one.tensor->shape[1]), kept_by({}, scores, 0.5)))
          << one.tensor->name;
    }
  }
}

TEST_F(Masks, NofMIsOnTheWeightsOfEveryLayer) {
  const Model model = tiny_model({});
  const PruneRecipe recipe =
      resolve({.method = "l1", .structure = Structure::Weight, .pattern = "2:4"}, 2);
  choose_masks(model, recipe, {}, files(model), nullptr);
  const MaskSummary summary = count_masks(model, files(model));
  EXPECT_EQ(summary.zeros * 2, summary.weights);
  const Model sparse = masked(model, folder_.path());
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.layer < 0 || tensor.spec->rank != 2) continue;
    const at::Tensor nonzero = sparse.source().read(tensor).ne(0).view({-1, 4}).sum(1);
    EXPECT_TRUE(nonzero.eq(2).all().item<bool>()) << tensor.name;
  }
}

// Element scores of Taylor expansions, whose gradients are the dense model's.
TEST_F(Masks, BackwardScoresGiveMasksToo) {
  const Model model = tiny_model({});
  const std::vector<TokenBatch> batches = batches_of(model);
  const PruneOptions options{
      .method = "llm-pruner", .structure = Structure::Weight, .sparsity = 0.5};
  const double loss = choose_masks(model, resolve(options, 2), batches, files(model), nullptr);
  EXPECT_GT(loss, 0);
  const MaskSummary summary = count_masks(model, files(model));
  EXPECT_EQ(summary.zeros * 2, summary.weights);
}

TEST_F(Masks, EachExpertIsAMatrixOfItsOwn) {
  const Model model = open_model(golden_dir("mixtral"));
  const std::vector<TokenBatch> batches = {{random_ids(model, 4, 16, 1)}};
  for (const char* method : {"l1", "wanda-sp", "llm-pruner"}) {
    const PruneRecipe recipe = resolve(
        {.method = method, .structure = Structure::Weight, .sparsity = 0.5}, model.layer_count());
    choose_masks(model, recipe, batches, files(model), nullptr);
    for (int layer = 0; layer < model.layer_count(); ++layer) {
      const auto experts = model.config().layers[static_cast<size_t>(layer)].experts;
      ASSERT_GT(experts, 0);
      for (const OverlayTensor& one : files(model).restore(layer)) {
        EXPECT_NE(one.tensor->spec->role, Role::Router);
        if (one.tensor->spec->role != Role::DownProj) continue;
        const at::Tensor kept = unpack_mask(one.value, one.tensor->shape[1]);
        const at::Tensor each = kept.view({kept.size(0), experts, -1}).sum(-1);
        const int64_t width = kept.size(1) / experts;
        EXPECT_TRUE(each.eq(width - width / 2).all().item<bool>()) << method;
      }
    }
  }
}

TEST_F(Masks, LayersOutsideTheRangeStayWhole) {
  const Model model = tiny_model({.layers = 3});
  const PruneRecipe recipe =
      resolve({.method = "l1", .structure = Structure::Weight, .layers = LayerRange{1, 2}},
              model.layer_count());
  choose_masks(model, recipe, {}, files(model), nullptr);
  EXPECT_TRUE(files(model).restore(0).empty());
  EXPECT_EQ(files(model).restore(1).size(), 7u);
  EXPECT_TRUE(files(model).restore(2).empty());
}

// Stopped anywhere and gone on with: the same masks as without a stop.
class MasksResumed : public testing::TestWithParam<const char*> {};

TEST_P(MasksResumed, GivesTheMasksOfAnUninterruptedRun) {
  const Model model = tiny_model({.layers = 4});
  const std::vector<TokenBatch> batches = batches_of(model);
  const PruneRecipe recipe =
      resolve({.method = GetParam(), .structure = Structure::Weight, .sparsity = 0.5}, 4);
  const TempDir whole;
  const LayerFiles want = mask_files(model, whole.path());
  const double loss = choose_masks(model, recipe, batches, want, nullptr);
  int64_t stops = 0;
  for (int64_t reads = 5;; reads += 11, ++stops) {
    const TempDir states, folder;
    const LayerFiles files = mask_files(model, folder.path());
    const auto source = std::make_shared<StoppingSource>(model.shared_source());
    source->reads_left = reads;
    const auto attempt = [&] {
      StreamStore store({.dir = states.path(), .resumable = true});
      return choose_masks(Model(model.config(), source), recipe, batches, files, &store);
    };
    bool stopped = false;
    try {
      attempt();
    } catch (const Stop&) {
      stopped = true;
    }
    if (!stopped) break;
    EXPECT_EQ(attempt(), loss) << reads;
    EXPECT_EQ(sha256_of_masks(model, files), sha256_of_masks(model, want)) << reads;
  }
  EXPECT_GE(stops, 3);
}

INSTANTIATE_TEST_SUITE_P(Passes, MasksResumed, testing::Values("wanda-sp", "llm-pruner"));

}  // namespace
}  // namespace prunus::test::masks_test
