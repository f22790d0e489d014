// A plan's solver carried out on what the plan leaves.
#include "prunus/pipeline/solve_plan.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::solve_plan_test {
namespace {

const Model& dense_model() {
  static const Model dense = tiny_model({.hidden = 32, .head_dim = 8, .ffn = 24, .layers = 3});
  return dense;
}

// The attention of layer 1 is gone, and half of the channels of layer 2.
Plan plan_with(const char* solver) {
  Plan plan;
  plan.entries.push_back({.keep = without_sub_layer(dense_model(), SubLayer::Attention, {1}),
                          .units = 3,
                          .scores = {}});
  plan.entries.push_back({.keep = {AxisLabel::Ffn, 2, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22}},
                          .units = 24,
                          .scores = {}});
  plan.solver.emplace();
  plan.solver->name = solver;
  return plan;
}

std::vector<TokenBatch> text() { return {{random_ids(dense_model(), 24, 16, 5)}}; }

double distance(const Model& model) {
  const at::Tensor ids = random_ids(dense_model(), 6, 16, 99);
  const at::Tensor wanted = logits_of(dense_model(), ids);
  return (logits_of(model, ids) - wanted).square().sum().item<double>();
}

TEST(SolveByPlan, MakesUpForADroppedPart) {
  const TempDir dir;
  const Plan plan = plan_with("least-squares");
  const Model cut = result_of(dense_model(), plan, {});
  const SolvedModel solved =
      solve_by_plan(dense_model(), cut, plan, text(), at::kCPU, dir / "solved");
  ASSERT_EQ(solved.parts.size(), 5U);
  EXPECT_EQ(solved.parts[2].layer, 1);
  EXPECT_EQ(solved.parts[2].part, "ffn");
  for (const RefitResult& one : solved.parts) EXPECT_LE(one.error_after, one.error_before + 1e-9);
  EXPECT_FALSE(solved.model->config().layers[1].has(SubLayer::Attention));
  EXPECT_LT(distance(*solved.model), distance(cut));
}

TEST(SolveByPlan, GivesBiasesToMatricesWithoutSome) {
  const TempDir dir;
  const Plan plan = plan_with("bias");
  const Model cut = result_of(dense_model(), plan, {});
  const SolvedModel solved =
      solve_by_plan(dense_model(), cut, plan, text(), at::kCPU, dir / "solved");
  EXPECT_FALSE(cut.load_block(1, at::kCPU)[Role::DownBias].defined());
  EXPECT_TRUE(solved.model->load_block(1, at::kCPU)[Role::DownBias].defined());
}

TEST(SolveByPlan, GoesOnWithTheLayersInItsFolder) {
  const TempDir dir;
  const Plan plan = plan_with("least-squares");
  const Model cut = result_of(dense_model(), plan, {});
  const std::string folder = dir / "solved";
  const SolvedModel first = solve_by_plan(dense_model(), cut, plan, text(), at::kCPU, folder);
  size_t files = 0;
  std::filesystem::file_time_type written{};
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    EXPECT_TRUE(is_solved_file(item.path().filename().string()));
    written = std::max(written, item.last_write_time());
    ++files;
  }
  EXPECT_GE(files, 3U);
  const SolvedModel again = solve_by_plan(dense_model(), cut, plan, text(), at::kCPU, folder);
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    EXPECT_LE(item.last_write_time(), written);
  }
  EXPECT_EQ(distance(*again.model), distance(*first.model));
}

TEST(SolverJson, SaysWhatEveryPartHad) {
  PlanSolver solver;
  solver.name = "least-squares";
  solver.options.ridge = 0.25;
  SolvedModel solved;
  solved.parts = {{.layer = 4, .part = "ffn", .error_before = 0.5, .error_after = 0.125}};
  const Json json = solver_json(solver, solved);
  EXPECT_EQ(json.at("ridge"), 0.25);
  EXPECT_EQ(json.at("residual_correction"), 0.5);
  EXPECT_EQ(json.at("parts").at(0).at("layer"), 4);
  EXPECT_EQ(json.at("parts").at(0).at("error_after"), 0.125);
}

TEST(SolverJson, SaysTheScalesOfLayers) {
  PlanSolver solver;
  solver.name = "prune-comp";
  SolvedModel solved;
  solved.scales = {1, 1.5};
  EXPECT_EQ(solver_json(solver, solved), (Json{{"name", "prune-comp"}, {"scales", {1, 1.5}}}));
}

}  // namespace
}  // namespace prunus::test::solve_plan_test
