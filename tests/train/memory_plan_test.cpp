#include "prunus/train/memory_plan.h"

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/base/memory.h"
#include "prunus/model/cost.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::memory_plan_test {
namespace {

// hidden 16, 4 heads of 4, 12 channels, 29 tokens, 2 layers: per layer 4·16·16 + 3·16·12 matrices
// and 32 norms; 2·16·29 + 16 outside.
constexpr double kParameters = 2 * (1024 + 576 + 32) + 944;

double part(const MemoryPlan& plan, const std::string& name) {
  for (const MemoryPlan::Item& item : plan.items) {
    if (item.what.find(name) != std::string::npos) return item.bytes;
  }
  return 0;
}

TEST(MemoryPlan, CountsWhatFullTrainingHolds) {
  const Model model = test::tiny_model({});
  MemoryRequest request;
  request.full = true;
  request.trained = model.parameters();
  request.micro_rows = 2;
  request.batch_rows = 4;
  request.row_tokens = 10;
  const MemoryPlan plan = plan_memory(model, request);
  EXPECT_EQ(part(plan, "weights, FP32"), 4 * kParameters);
  EXPECT_EQ(part(plan, "gradients"), 4 * kParameters);
  EXPECT_EQ(part(plan, "optimiser"), 8 * kParameters);
  // 20 tokens: per layer 6·16 + 5·16 + 4·12 = 224 values; passing 3·12 + 4·16 = 100.
  EXPECT_EQ(part(plan, "activations"), 20 * 4 * (2 * 224 + 100));
  EXPECT_EQ(part(plan, "logits"), 20 * 29 * 4);
  request.checkpoint_blocks = true;
  EXPECT_EQ(part(plan_memory(model, request), "activations"), 20 * 4 * (224 + 100 + 2 * 16));
  request.optimizer = OptimizerOptions::Kind::Muon;
  EXPECT_EQ(part(plan_memory(model, request), "optimiser"), 4 * kParameters);
}

double activations(const std::string& name, bool full) {
  const Model model = open_model(test::golden_dir(name));
  MemoryRequest request;
  request.full = full;
  request.trained = 1;
  request.micro_rows = 2;
  request.row_tokens = 10;
  return part(plan_memory(model, request), "activations") / (20 * 4);
}

// Hidden 24, 4 heads of 6, 4 experts of 12 and a shared one of 20: 68 inner channels, 2 layers.
TEST(MemoryPlan, TrainingAMixtureHoldsAllOfItsExperts) {
  EXPECT_EQ(activations("qwen2_moe", false),
            2 * (4 * 24 + 5 * 24 + 4 * 68 + 68) + (3 * 68 + 4 * 24));
  const Model model = open_model(test::golden_dir("qwen2_moe"));
  MemoryRequest request;
  request.full = true;
  // Two of four experts would be 2·12 + 20 = 44 of the 68.
  EXPECT_NEAR(plan_memory(model, request).flops_per_step,
              3 * 2 * (count_macs(model.config(), 1).total() + 2 * 3 * 24 * 24), 1e-6);
}

// Hidden 24, 4 heads of 6, 40 channels that no gate multiplies, 2 layers: LayerNorm keeps what it
// centres and, trained, what it scales.
TEST(MemoryPlan, NormsCountByTheirKindAndNumber) {
  EXPECT_EQ(activations("gpt2", true), 2 * ((2 + 3 * 2) * 24 + 5 * 24 + 2 * 40) + (3 * 40 + 96));
  // Gemma 2: hidden 24, 4 heads of 16, 32 channels, 3 layers, four norms each; scores of 10 places
  // under a soft cap twice over.
  EXPECT_EQ(activations("gemma2", true),
            3 * ((2 + 2 * 4) * 24 + 5 * 64 + 4 * 32 + 2 * 4 * 10) + (3 * 32 + 96));
}

TEST(MemoryPlan, FrozenWeightsCountAsTheyAreStored) {
  const Model model = test::tiny_model({});
  MemoryRequest request;
  request.trained = 100;
  EXPECT_EQ(part(plan_memory(model, request), "frozen weights"), 4 * kParameters);
  request.int8_base = true;
  const double matrices = 2 * (1024 + 576);
  EXPECT_EQ(part(plan_memory(model, request), "INT8"),
            matrices * (1 + 4.0 / 64) + 4 * (kParameters - matrices));
}

TEST(MemoryPlan, ATeacherIsOneLayerOrAllOfIt) {
  const Model model = test::tiny_model({});
  MemoryRequest request;
  request.teacher = &model;
  request.batch_rows = 3;
  request.row_tokens = 5;
  const double states = 15 * 16 * 4 * 2;
  const double head = 29 * 16 * 4;
  EXPECT_EQ(part(plan_memory(model, request), "streamed"), 4 * 1632 + head + states);
  request.teacher_resident = true;
  EXPECT_EQ(part(plan_memory(model, request), "resident"), 2 * 4 * 1632 + head + states);
}

TEST(MemoryPlan, RefusesWhatCannotFitUnlessTold) {
  const Model model = test::tiny_model({});
  MemoryRequest request;
  request.trained = static_cast<int64_t>(available_memory_bytes());  // times 16
  test::expect_error(ErrorKind::InvalidArgument, "--ignore-memory", [&] {
    settle_memory(model, request, Checkpointing::Off, at::Device(at::kCPU), false);
  });
  EXPECT_GT(
      settle_memory(model, request, Checkpointing::Off, at::Device(at::kCPU), true).total_bytes(),
      0);
}

TEST(MemoryPlan, RecomputesWhereActivationsWouldNotFit) {
  const Model model = test::tiny_model({.layers = 8});
  MemoryRequest request;
  const double free = static_cast<double>(available_memory_bytes());
  request.micro_rows = 1;
  request.row_tokens = static_cast<int64_t>(free / 4 / (8 * 224));
  settle_memory(model, request, Checkpointing::Auto, at::Device(at::kCPU), true);
  EXPECT_TRUE(request.checkpoint_blocks);
  request.row_tokens = 10;
  settle_memory(model, request, Checkpointing::Auto, at::Device(at::kCPU), true);
  EXPECT_FALSE(request.checkpoint_blocks);
}

TEST(MemoryPlan, IsPrintedWithUnits) {
  const std::string text =
      to_text({.items = {{"weights, FP32", 3 << 20}, {"gradients", 1 << 20}}, .flops_per_step = 0});
  EXPECT_THAT(text, testing::HasSubstr("3.00 MiB  weights, FP32"));
  EXPECT_THAT(text, testing::HasSubstr("4.00 MiB  in all"));
}

}  // namespace
}  // namespace prunus::memory_plan_test
