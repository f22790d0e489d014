// The order in which BlockPruner drops parts, against models built and measured one by one.
#include <filesystem>
#include <limits>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"
#include "prunus/pipeline/solve_plan.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/plain_loss.h"
#include "support/sub_layers.h"

namespace prunus::test::blockpruner_test {
namespace {

struct Unit {
  int layer = 0;
  SubLayer part = SubLayer::Attention;
};

std::vector<Unit> brute_force(Model model, const std::vector<TokenBatch>& text, size_t count) {
  std::vector<Unit> order;
  while (order.size() < count) {
    double least = std::numeric_limits<double>::infinity();
    Unit goes;
    for (const SubLayer part : kSubLayers) {
      const std::vector<int64_t> layers = layers_with(model, part);
      for (const int64_t layer : layers) {
        if (layers.size() == 1) continue;
        const double loss = plain_loss(without_unit(model, layer, part), text);
        if (loss >= least) continue;
        least = loss;
        goes = {static_cast<int>(layer), part};
      }
    }
    model = without_unit(model, goes.layer, goes.part);
    order.push_back(goes);
  }
  return order;
}

const PlanEntry& entry_of(const Plan& plan, SubLayer part) {
  for (const PlanEntry& entry : plan.entries) {
    if (sub_layer_of(entry.keep.label) == part) return entry;
  }
  throw std::logic_error("the plan has no such entry");
}

void expect_brute_force(const Model& model, size_t count, const std::string& name) {
  int64_t parts = 0;
  for (const GroupSet& set : part_sets(model)) parts += set.units;
  const double ratio = (static_cast<double>(count) - 0.01) / static_cast<double>(parts);
  const std::vector<TokenBatch> text{{random_ids(model, 3, 9, 1)}, {random_ids(model, 1, 9, 2)}};
  std::vector<Plan> steps;
  PlanContext context{.calibration = [&](int64_t) { return text; }};
  context.finish = [&](int64_t, const PlanResult& result) { steps.push_back(result.plan); };
  make_plan(model, context, {.method = "blockpruner", .ratio = ratio});
  const std::vector<Unit> order = brute_force(model, text, count);
  ASSERT_EQ(steps.size(), count) << name;
  for (const SubLayer part : kSubLayers) {
    std::vector<int64_t> dropped;
    for (size_t step = 0; step < count; ++step) {
      if (order[step].part == part) dropped.push_back(order[step].layer);
      const Keep expected = without_sub_layer(model, part, dropped);
      EXPECT_EQ(entry_of(steps[step], part).keep.units, expected.units) << name << " " << step;
      EXPECT_EQ(entry_of(steps[step], part).units, model.layer_count());
    }
  }
  check_plan(steps.back(), model);
}

TEST(BlockPruner, DropsPartsInTheOrderOfBruteForce) {
  expect_brute_force(tiny_model({.kv_heads = 2, .layers = 4}), 4, "llama");
  expect_brute_force(tiny_model({.kv_heads = 2, .layers = 3}), 4, "all but one of each");
}

// Parts that a model lacks already are not counted, and stay in the lists of what is kept.
TEST(BlockPruner, GoesOnWithAModelThatLacksParts) {
  expect_brute_force(without(tiny_model({.layers = 4}), SubLayer::Attention, 1), 3, "llama");
}

TEST(BlockPruner, TakesParallelPartsAndNormsBehindTheSum) {
  for (const char* name : {"gpt_neox", "opt_post", "gemma2", "mixtral"}) {
    expect_brute_force(open_model(golden_dir(name)), 2, name);
  }
}

TEST(BlockPruner, MeetsATargetOfParameters) {
  const Model model = tiny_model({.layers = 4});
  const std::vector<TokenBatch> text{{random_ids(model, 3, 9, 1)}};
  const int64_t wanted = model.parameters() * 8 / 10;
  PlanContext context{.calibration = [&](int64_t) { return text; }};
  std::vector<int64_t> left;
  context.finish = [&](int64_t, const PlanResult& result) {
    left.push_back(shrink(model, result.plan.keeps()).parameters());
  };
  const PlanResult made =
      make_plan(model, context, {.method = "blockpruner", .target_params = wanted});
  EXPECT_LE(left.back(), wanted);
  for (size_t i = 0; i + 1 < left.size(); ++i) EXPECT_GT(left[i], wanted);
  EXPECT_DOUBLE_EQ(made.ratio, static_cast<double>(left.size()) / 8);
}

TEST(BlockPruner, SaysWhatIsOutOfReachBeforeAnythingIsMeasured) {
  const Model model = tiny_model({.layers = 4});
  expect_error(ErrorKind::InvalidArgument, "is out of reach", [&] {
    make_plan(model, std::vector<TokenBatch>(), {.method = "blockpruner", .target_params = 10});
  });
  expect_error(ErrorKind::InvalidArgument, "no normalisation", [&] {
    make_plan(model, std::vector<TokenBatch>(),
              {.method = "blockpruner", .normalisation = Normalisation::Mean});
  });
  expect_error(ErrorKind::InvalidArgument, "methods that can: blockpruner", [&] {
    make_plan(model, std::vector<TokenBatch>(), {.structure = Structure::Part});
  });
}

// What stays of the two depth plans can be fitted.
TEST(BlockPruner, AndSlebLeaveWhatASolverCanFit) {
  const Model model = tiny_model({.hidden = 32, .head_dim = 8, .ffn = 24, .layers = 4});
  const std::vector<TokenBatch> text{{random_ids(model, 24, 16, 5)}};
  const at::Tensor ids = random_ids(model, 6, 16, 99);
  const auto distance = [&](const Model& other) {
    return (logits_of(other, ids) - logits_of(model, ids)).square().sum().item<double>();
  };
  for (const char* method : {"blockpruner", "sleb"}) {
    Plan plan = make_plan(model, text, {.method = method, .ratio = 0.3}).plan;
    plan.solver.emplace();
    plan.solver->name = "least-squares";
    const TempDir dir;
    const Model cut = result_of(model, plan, {});
    const SolvedModel solved = solve_by_plan(model, cut, plan, text, at::kCPU, dir / "solved");
    EXPECT_LT(distance(*solved.model), distance(cut)) << method;
  }
}

}  // namespace
}  // namespace prunus::test::blockpruner_test
