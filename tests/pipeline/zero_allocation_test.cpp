// How zeros are shared out among matrices.
#include "prunus/pipeline/zero_allocation.h"

#include <cmath>
#include <map>
#include <numeric>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/model/layout.h"
#include "prunus/model/overlay.h"
#include "prunus/pipeline/masks.h"
#include "prunus/pipeline/prune.h"
#include "prunus/solve/sparse_walk.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::zero_allocation_test {
namespace {

int64_t weights_of(const Model& model, const PlanZeros& one) {
  for (const Role role : maskable_roles(model, one.layer)) {
    const std::vector<int64_t>& shape = model.tensor(role, one.layer).shape;
    if (role_name(role) == one.matrix) return shape[0] * shape[1];
  }
  return 0;
}

double share(const Model& model, const PlanZeros& one) {
  return static_cast<double>(one.zeros) / static_cast<double>(weights_of(model, one));
}

int64_t total(const std::vector<PlanZeros>& zeros) {
  return std::accumulate(zeros.begin(), zeros.end(), int64_t{0},
                         [](int64_t sum, const PlanZeros& one) { return sum + one.zeros; });
}

std::vector<ZeroShare> shares_of(const Model& model, const std::function<double(int, Role)>& of) {
  std::vector<ZeroShare> shares;
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    for (const Role role : maskable_roles(model, layer))
      shares.push_back({layer, role, of(layer, role)});
  }
  return shares;
}

int64_t all_weights(const Model& model) {
  int64_t sum = 0;
  for (const ZeroShare& one : shares_of(model, [](int, Role) { return 0.0; })) {
    const std::vector<int64_t>& shape = model.tensor(one.role, one.layer).shape;
    sum += shape[0] * shape[1];
  }
  return sum;
}

TEST(ZeroAllocation, MeetsTheSparsityToTheWeight) {
  const Model model = tiny_model({.kv_heads = 2, .layers = 3});
  const auto shares = shares_of(model, [](int layer, Role role) {
    return 0.3 * layer + 0.07 * static_cast<int>(role) + 5;  // only differences count
  });
  for (const double sparsity : {0.0, 0.31, 0.5, 0.77, 0.95}) {
    for (const double reach : {0.1, 1.0}) {
      const std::vector<PlanZeros> zeros = zeros_by(model, shares, sparsity, reach);
      EXPECT_EQ(total(zeros),
                static_cast<int64_t>(sparsity * static_cast<double>(all_weights(model))))
          << sparsity << " " << reach;
      for (const PlanZeros& one : zeros) {
        EXPECT_LE(share(model, one), std::max(sparsity, std::min(0.99, sparsity + reach)) + 0.01);
        EXPECT_GE(share(model, one), std::max(0.0, sparsity - reach) - 0.01);
      }
    }
  }
  const std::vector<PlanZeros> zeros = zeros_by(model, shares, 0.5, 1);
  EXPECT_LT(share(model, zeros.front()), share(model, zeros.back()));
}

// The share of scores above five times the layer's mean, in FP64.
double outliers(const Model& model, const RecordedInputs& seen, int layer) {
  std::vector<at::Tensor> scores;
  for (const Role role : maskable_roles(model, layer)) {
    const at::Tensor norm = seen.input(layer, role).square().sum(0).sqrt();
    scores.push_back(
        (model.source().read(model.tensor(role, layer)).to(at::kDouble).abs() * norm).flatten());
  }
  const at::Tensor all = at::cat(scores);
  return (all > 5 * all.mean()).to(at::kDouble).mean().item<double>();
}

TEST(ZeroAllocation, OwlKeepsMoreWhereOutliersAre) {
  const Model model = tiny_model({.hidden = 32, .head_dim = 8, .ffn = 48, .layers = 4}, 3);
  const std::vector<TokenBatch> rows{{random_ids(model, 4, 12, 1)}};
  const RecordedInputs seen(model, rows);
  const PruneRecipe recipe =
      resolve({.method = "wanda", .sparsity = 0.6, .group = "layer", .allocation = "owl"}, 4);
  const std::vector<PlanZeros> zeros =
      allocate_zeros({.model = model, .recipe = recipe, .calibration = rows});
  std::vector<double> found;
  for (int layer = 0; layer < 4; ++layer) found.push_back(outliers(model, seen, layer));
  const auto [least, most] = std::minmax_element(found.begin(), found.end());
  ASSERT_LT(*least, *most);
  const double first = share(model, zeros[0]) + (found[0] - *least) / (*most - *least) * 0.16;
  for (const PlanZeros& one : zeros) {
    const double kept = (found[static_cast<size_t>(one.layer)] - *least) / (*most - *least) * 0.16;
    EXPECT_NEAR(share(model, one), first - kept, 2.0 / 256) << one.layer << one.matrix;
  }
  EXPECT_EQ(total(zeros), static_cast<int64_t>(0.6 * static_cast<double>(all_weights(model))));
}

// Divergences of models with one group of matrices replaced, made one by one.
TEST(ZeroAllocation, MeasuredIsByModelsWithOneGroupPruned) {
  const Model model = tiny_model({.hidden = 32, .head_dim = 8, .ffn = 48, .layers = 2});
  const std::vector<TokenBatch> rows{{random_ids(model, 16, 16, 1)}};
  const std::vector<TokenBatch> judges{{random_ids(model, 6, 16, 2)}};
  const PruneRecipe recipe = resolve(
      {.method = "sparsegpt", .sparsity = 0.5, .allocation = "measured"}, model.layer_count());
  const std::vector<PlanZeros> zeros = allocate_zeros(
      {.model = model, .recipe = recipe, .calibration = rows, .held_out = [&] { return judges; }});
  EXPECT_EQ(total(zeros), all_weights(model) / 2);
  std::map<std::string, OverlayTensor> solved;
  SparseTask task{.solver = recipe.sparse_solver,
                  .options = recipe.sparse_options,
                  .pattern = recipe.pattern,
                  .layers = {0, 2},
                  .zeros = zero_counter(model, {}, recipe.pattern, 0.5),
                  .trial = true};
  solve_sparse(model, rows, at::kCPU, task, [&](int layer, const auto& list) {
    for (const OverlayTensor& one : list) {
      solved[c10::str(layer, role_name(one.tensor->spec->role))] = one;
    }
  });
  const at::Tensor p = logits_of(model, judges[0].ids).to(at::kDouble).log_softmax(-1);
  std::map<std::string, double> wanted;  // ln(KL / weight) of matrices
  for (int layer = 0; layer < 2; ++layer) {
    for (const std::vector<const char*>& group : std::vector<std::vector<const char*>>{
             {"q_proj", "k_proj"}, {"v_proj", "o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}}) {
      std::map<std::string, at::Tensor> replaced;
      double weights = 0;
      for (const char* name : group) {
        const OverlayTensor& one = solved.at(c10::str(layer, name));
        replaced[one.tensor->name] = one.value;
        weights += static_cast<double>(one.value.numel());
      }
      const Model other(model.config(),
                        std::make_shared<OverlaySource>(model.shared_source(), replaced));
      const at::Tensor q = logits_of(other, judges[0].ids).to(at::kDouble).log_softmax(-1);
      const double kl = (p.exp() * (p - q)).sum(-1).mean().item<double>();
      for (const char* name : group) wanted[c10::str(layer, name)] = std::log(kl / weights);
    }
  }
  // Where nothing is clamped, shares differ by what the logarithms differ by, over the slope.
  const auto& first = zeros[0];
  for (const PlanZeros& one : zeros) {
    const double s = share(model, one);
    if (s < 0.36 || s > 0.64 || share(model, first) < 0.36 || share(model, first) > 0.64) continue;
    const double by = (wanted.at(c10::str(first.layer, first.matrix)) -
                       wanted.at(c10::str(one.layer, one.matrix))) /
                      7.5;
    EXPECT_NEAR(s - share(model, first), by, 5e-3) << one.layer << one.matrix;
  }
}

TEST(ZeroAllocation, MasksHaveAsManyZerosAsAreAllocated) {
  const Model model = tiny_model({.layers = 3});
  const std::vector<TokenBatch> rows{{random_ids(model, 4, 12, 1)}};
  for (const char* group : {"row", "layer", "block:8"}) {
    const TempDir folder;
    make_plan(model, {.calibration = [&](int64_t) { return rows; }, .mask_dir = folder.path()},
              {.method = "wanda", .sparsity = 0.55, .group = group, .allocation = "owl"});
    EXPECT_EQ(count_masks(model, mask_files(model, folder.path())).zeros,
              static_cast<int64_t>(0.55 * static_cast<double>(all_weights(model))))
        << group;
  }
}

TEST(ZeroAllocation, RefusesWhatItCannotShareOut) {
  const auto refuse = [](const PruneOptions& options, const char* why) {
    expect_error(ErrorKind::InvalidArgument, why, [&] { resolve(options, 2); });
  };
  refuse({.method = "wanda", .pattern = "2:4", .allocation = "owl"}, "drop --allocation");
  refuse({.method = "wanda", .allocation = "measured"}, "give --solver");
  refuse({.method = "wanda", .allocation = "own"}, "uniform");
  refuse({.method = "flap", .allocation = "owl"}, "it is for --structure weight");
  EXPECT_EQ(resolve({.method = "prunus-sparse", .pattern = "2:4"}, 2).allocation, nullptr);
  EXPECT_EQ(resolve({.method = "prunus-sparse"}, 2).allocation, find_allocation("measured"));
  const Model model = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "made for another model", [&] {
    zero_counter(model, {{7, "q_proj", 3}}, {}, 0.5);
  });
  expect_error(ErrorKind::InvalidArgument, "made for another model", [&] {
    zero_counter(model, {{0, "q_proj", 1'000'000}}, {}, 0.5);
  });
}

}  // namespace
}  // namespace prunus::test::zero_allocation_test
