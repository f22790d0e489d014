// A plan with a sparse solver, made, written down and carried out.
#include "prunus/pipeline/sparse_plan.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/model/mask.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::sparse_plan_test {
namespace {

const Model& dense_model() {
  static const Model dense = tiny_model({.hidden = 32, .head_dim = 8, .ffn = 48, .layers = 3});
  return dense;
}

std::vector<TokenBatch> text() { return {{random_ids(dense_model(), 24, 16, 5)}}; }

Plan plan_of(const PruneOptions& options) {
  const PruneRecipe recipe = resolve(options, dense_model().layer_count());
  Plan plan =
      sparse_plan(
          dense_model(),
          {.calibration = [](int64_t) { return text(); },
           .held_out =
               [] { return std::vector<TokenBatch>{{random_ids(dense_model(), 4, 16, 8)}}; }},
          recipe)
          .plan;
  plan.sparse->calibration.samples = 24;
  plan.sparse->calibration.tokens = 16;
  return plan;
}

double distance(const Model& model) {
  const at::Tensor ids = random_ids(dense_model(), 6, 16, 99);
  const at::Tensor wanted = logits_of(dense_model(), ids);
  return (logits_of(model, ids) - wanted).square().sum().item<double>();
}

int64_t zeros_in(const Model& model) {
  int64_t zeros = 0;
  for (const TensorInfo& tensor : model.tensors()) {
    const at::Tensor value = model.source().read(tensor);
    zeros += value.numel() - value.count_nonzero().item<int64_t>();
  }
  return zeros;
}

TEST(SparsePlan, ComesBackFromItsFile) {
  const Plan plan = plan_of({.method = "prunus-sparse", .sparsity = 0.6, .ridge = 0.15});
  ASSERT_EQ(plan.sparse->zeros.size(), 21u);
  const Json json = to_json(plan);
  EXPECT_EQ(json.at("version"), 6);
  EXPECT_EQ(to_json(plan_from_json(json, "plan")), json);
  EXPECT_EQ(json.at("sparse").at("ridge"), 0.15);
  EXPECT_EQ(json.at("sparse").at("pattern"), "layer");
  const auto refuse = [&](const char* key, const Json& value) {
    Json spoiled = json;
    spoiled["sparse"][key] = value;
    expect_error(ErrorKind::Corrupt, "plan: ", [&] { plan_from_json(spoiled, "plan"); });
  };
  refuse("pattern", "4:2");
  refuse("sparsity", 1.5);
  refuse("zeros", {{{"layer", -1}, {"matrix", "q_proj"}, {"zeros", 1}}});
  refuse("solver", 7);
}

TEST(SparsePlan, GivesTheSameWeightsEveryTime) {
  for (const PruneOptions& options :
       {PruneOptions{.method = "sparsegpt", .sparsity = 0.5},
        PruneOptions{.method = "sparsegpt", .pattern = "2:4"},
        PruneOptions{.method = "wanda", .sparsity = 0.5, .solver = "least-squares"},
        PruneOptions{.method = "magnitude", .sparsity = 0.5, .solver = "sparsegpt"},
        PruneOptions{.method = "prunus-sparse", .sparsity = 0.5}}) {
    const Plan plan = plan_of(options);
    const Plan read = plan_from_json(to_json(plan), "plan");
    const TempDir dir;
    const SparseModel one = sparse_by_plan(dense_model(), plan, text(), at::kCPU, dir / "one");
    const SparseModel two = sparse_by_plan(dense_model(), read, text(), at::kCPU, dir / "two");
    for (const TensorInfo& tensor : dense_model().tensors()) {
      EXPECT_TRUE(at::equal(one.model->source().read(tensor), two.model->source().read(tensor)))
          << options.method << " " << tensor.name;
    }
    int64_t zeros = 0;
    int64_t weights = 0;
    for (const SparseResult& matrix : one.matrices) {
      zeros += matrix.zeros;
      weights += matrix.weights;
    }
    EXPECT_EQ(zeros, weights / 2) << options.method;
    EXPECT_EQ(zeros_in(*one.model), zeros) << options.method;
  }
}

// On text that was not seen.
TEST(SparsePlan, SolversComeNearerThanMasksAlone) {
  const TempDir dir;
  const auto after = [&](const PruneOptions& options, const char* name) {
    return distance(
        *sparse_by_plan(dense_model(), plan_of(options), text(), at::kCPU, dir / name).model);
  };
  const TempDir masks;
  make_plan(dense_model(),
            {.calibration = [](int64_t) { return text(); }, .mask_dir = masks.path()},
            {.method = "wanda", .sparsity = 0.5, .group = "layer"});
  const double wanda = distance(masked(dense_model(), masks.path()));
  const double refitted = after(
      {.method = "wanda", .sparsity = 0.5, .group = "layer", .solver = "least-squares"}, "refit");
  const double gpt = after({.method = "sparsegpt", .sparsity = 0.5}, "gpt");
  const double ours = after({.method = "prunus-sparse", .sparsity = 0.5}, "ours");
  EXPECT_LT(refitted, wanda);
  EXPECT_LT(ours, refitted);
  EXPECT_LT(ours, gpt);
}

TEST(SparsePlan, GoesOnWithTheLayersInItsFolder) {
  const Plan plan = plan_of({.method = "prunus-sparse", .sparsity = 0.5, .allocation = "uniform"});
  const TempDir dir;
  const SparseModel whole = sparse_by_plan(dense_model(), plan, text(), at::kCPU, dir / "whole");
  std::filesystem::create_directories(dir / "some");
  for (const char* name :
       {"solved-0.json", "solved-0.tensors", "solved-1.json", "solved-1.tensors"}) {
    std::filesystem::copy_file(dir / "whole" + "/" + name, dir / "some" + "/" + name);
  }
  const SparseModel rest = sparse_by_plan(dense_model(), plan, text(), at::kCPU, dir / "some");
  EXPECT_EQ(rest.matrices.size(), 7u);
  EXPECT_EQ(distance(*rest.model), distance(*whole.model));
}

TEST(SparsePlan, RefusesAPlanOfAnotherModel) {
  const TempDir dir;
  Plan plan = plan_of({.method = "sparsegpt"});
  plan.sparse->end_layer = 4;
  expect_error(ErrorKind::InvalidArgument, "the model has 3 layers",
               [&] { sparse_by_plan(dense_model(), plan, text(), at::kCPU, dir / "a"); });
  plan = plan_of({.method = "wanda", .solver = "admm"});
  plan.sparse->criterion = "wander";
  expect_error(ErrorKind::InvalidArgument, "criterion 'wander'",
               [&] { sparse_by_plan(dense_model(), plan, text(), at::kCPU, dir / "b"); });
}

TEST(SparseOptions, AreTheMethodsUnlessGiven) {
  const PruneRecipe gpt = resolve({.method = "sparsegpt", .ridge = 0.1}, 2);
  EXPECT_EQ(gpt.sparse_options, (SparseOptions{.damping = 0.01, .ridge = 0.1}));
  EXPECT_EQ(pattern_name(gpt.pattern), "block:128");
  EXPECT_TRUE(gpt.solver_chooses());
  const PruneRecipe ours =
      resolve({.method = "prunus-sparse", .residual_correction = 0.25, .token_weights = false}, 2);
  EXPECT_TRUE(ours.sparse_options.dense_target);
  EXPECT_FALSE(ours.sparse_options.token_weights);
  EXPECT_EQ(ours.sparse_options.residual_correction, 0.25);
  EXPECT_FALSE(resolve({.method = "wanda", .solver = "admm"}, 2).solver_chooses());
  const auto refuse = [](const PruneOptions& options, const char* why) {
    expect_error(ErrorKind::InvalidArgument, why, [&] { resolve(options, 2); });
  };
  refuse({.method = "sparsegpt", .solver = "none"}, "drop --solver none");
  refuse({.method = "sparsegpt", .solver = "least-squares"}, "such as --method wanda");
  refuse({.method = "sparsegpt", .residual_correction = 0.5}, "drop --residual-correction");
  refuse({.method = "llm-pruner", .structure = Structure::Weight, .solver = "admm"},
         "--solver none");
  refuse({.method = "sparsegpt", .precision = at::kDouble}, "drop --precision float64");
  refuse({.method = "flap", .damping = 0.1}, "--structure weight");
}

}  // namespace
}  // namespace prunus::test::sparse_plan_test
