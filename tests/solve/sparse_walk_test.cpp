// The walk that leaves zeros, stage by stage, against equations made of what the models give in
// FP64.
#include "prunus/solve/sparse_walk.h"

#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/model/mixture.h"
#include "prunus/solve/sparse_system.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::sparse_walk_test {
namespace {

struct Walked {
  std::vector<SparseResult> results;
  std::map<int, std::vector<OverlayTensor>> layers;

  at::Tensor value(int layer, Role role) const {
    for (const OverlayTensor& one : layers.at(layer)) {
      if (one.tensor->spec->role == role) return one.value.to(at::kDouble);
    }
    return {};
  }
  // The model as it was when a stage was solved: behind all that stand before its first role.
  Model before(const Model& dense, int layer, Role role) const {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [at, list] : layers) {
      for (const OverlayTensor& one : list) {
        const bool earlier =
            at < layer || (at == layer && stage_of(one.tensor->spec->role) < stage_of(role));
        if (earlier) tensors[one.tensor->name] = one.value;
      }
    }
    return Model(dense.config(), std::make_shared<OverlaySource>(dense.shared_source(), tensors));
  }
  Model model(const Model& dense) const { return before(dense, 1000, Role::QProj); }
};

// Half of each row by magnitude, the rest fitted.
SparseTask fit_by_magnitude(const SparseOptions& options, int64_t layers) {
  return {.solver = &find_sparse_solver("least-squares"),
          .options = options,
          .layers = {0, layers},
          .zeros = [](int, Role, int64_t rows,
                      int64_t columns) { return zeros_of({}, rows, columns, 0.5); },
          .score = [](const WeightStats& stats) { return stats.weight.abs(); }};
}

Walked walk(const Model& dense, const std::vector<TokenBatch>& rows, const SparseTask& task,
            const std::function<std::vector<OverlayTensor>(int)>& restored = {}) {
  Walked walked;
  walked.results = solve_sparse(
      dense, rows, at::kCPU, task,
      [&](int layer, const auto& list) { walked.layers[layer] = list; }, restored);
  return walked;
}

std::vector<TokenBatch> text(const Model& model) {
  return {{random_ids(model, 12, 10, 5)}, {random_ids(model, 8, 10, 6)}};
}

at::Tensor weight_of(const Model& model, int layer, Role role) {
  return model.source().read(model.tensor(role, layer)).to(at::kDouble);
}

// Rows of what is kept by regression of the target on the inputs, held to the dense weights by λ
// times each input's own square.
at::Tensor regressed(const at::Tensor& x, const at::Tensor& target, const at::Tensor& dense,
                     double ridge, const at::Tensor& weights) {
  const at::Tensor weighted = x * weights;
  const at::Tensor gram = at::matmul(x.t(), weighted);
  const at::Tensor added = at::diag(gram.diagonal() * ridge);
  const at::Tensor left = gram + added;
  const at::Tensor right = at::matmul(target.t(), weighted) + at::matmul(dense, added);
  const at::Tensor kept = kept_by({}, dense.abs(), 0.5);
  at::Tensor solved = at::zeros_like(dense);
  for (int64_t row = 0; row < dense.size(0); ++row) {
    const at::Tensor places = kept[row].nonzero().squeeze(1);
    const at::Tensor some = left.index_select(0, places).index_select(1, places);
    solved[row].index_copy_(
        0, places, at::linalg_solve(some, right[row].index_select(0, places), /*left=*/true));
  }
  return solved;
}

TEST(SparseWalk, FitsEachStageBehindTheStagesBeforeIt) {
  const Model dense = tiny_model({.kv_heads = 2});
  const auto rows = text(dense);
  const Walked walked = walk(dense, rows, fit_by_magnitude({.ridge = 0.05}, 2));
  ASSERT_EQ(walked.results.size(), 14u);
  for (const SparseResult& one : walked.results) {
    const RecordedInputs seen(walked.before(dense, one.layer, one.role), rows);
    const at::Tensor x = seen.input(one.layer, one.role);
    const at::Tensor weight = weight_of(dense, one.layer, one.role);
    const at::Tensor want = regressed(x, at::matmul(x, weight.t()), weight, 0.05,
                                      at::ones({x.size(0), 1}, at::kDouble));
    const at::Tensor got = walked.value(one.layer, one.role);
    EXPECT_LT(relative_error(got, want), 2e-3) << one.layer << " " << static_cast<int>(one.role);
    EXPECT_EQ(one.zeros * 2, one.weights);
    const at::Tensor out = at::matmul(x, weight.t());
    const double error =
        ((out - at::matmul(x, got.t())).square().sum() / out.square().sum()).item<double>();
    EXPECT_NEAR(one.error, error, 1e-3 * error);
  }
}

// Targets of two streams: what the dense matrix gives on the dense model's inputs, and half of what
// the streams differ by; tokens by the dense stream behind the part.
TEST(SparseWalk, FitsTheDenseModelsOutputs) {
  const Model dense = tiny_model({.kv_heads = 2});
  const auto rows = text(dense);
  const SparseOptions options{
      .ridge = 0.05, .dense_target = true, .residual_correction = 0.5, .token_weights = true};
  const Walked walked = walk(dense, rows, fit_by_magnitude(options, 2));
  const RecordedInputs whole(dense, rows);
  for (const SparseResult& one : walked.results) {
    const Model before = walked.before(dense, one.layer, one.role);
    const RecordedInputs seen(before, rows);
    const at::Tensor x = seen.input(one.layer, one.role);
    const at::Tensor weight = weight_of(dense, one.layer, one.role);
    at::Tensor target = at::matmul(whole.input(one.layer, one.role), weight.t());
    at::Tensor weights = at::ones({x.size(0), 1}, at::kDouble);
    if (one.role == Role::OProj || one.role == Role::DownProj) {
      at::Tensor stream = whole.before(one.layer);
      at::Tensor pruned = seen.before(one.layer);
      if (one.role == Role::DownProj) {
        const auto attention = [&](const RecordedInputs& of, const Model& model) {
          return at::matmul(of.input(one.layer, Role::OProj),
                            weight_of(model, one.layer, Role::OProj).t());
        };
        stream = stream + attention(whole, dense);
        pruned = pruned + attention(seen, before);
      }
      weights = 1 / (stream + target).square().mean(-1, true);
      target = target + 0.5 * (stream - pruned);
    }
    EXPECT_LT(relative_error(walked.value(one.layer, one.role),
                             regressed(x, target, weight, 0.05, weights)),
              5e-3)
        << one.layer << " " << static_cast<int>(one.role);
  }
}

TEST(SparseWalk, EachExpertHasItsOwnTokens) {
  const Model dense = open_model(golden_dir("mixtral"));
  const std::vector<TokenBatch> rows = {{random_ids(dense, 16, 16, 1)}};
  const Walked walked = walk(dense, rows, fit_by_magnitude({.ridge = 0.05}, dense.layer_count()));
  for (const Role role : {Role::UpProj, Role::DownProj}) {
    const RecordedInputs seen(walked.before(dense, 0, role), rows);
    const at::Tensor weight = weight_of(dense, 0, role);
    const at::Tensor got = walked.value(0, role);
    for (const ExpertPart& part : experts_of(dense.config(), 0, role, weight)) {
      const at::Tensor x = seen.input(0, role, part.expert);
      ASSERT_GT(x.size(0), 0);
      const at::Tensor own = part.part_of(weight, part.dim);
      const at::Tensor want =
          regressed(x, at::matmul(x, own.t()), own, 0.05, at::ones({x.size(0), 1}, at::kDouble));
      EXPECT_LT(relative_error(part.part_of(got, part.dim), want), 5e-3)
          << part.expert << " " << static_cast<int>(role);
    }
  }
  EXPECT_FALSE(walked.value(0, Role::Router).defined());
}

// What no token reaches is cut by magnitude.
TEST(SparseWalk, ExpertsWithoutTokensLoseTheSmallestWeights) {
  const Model dense = open_model(golden_dir("mixtral"));
  const std::vector<TokenBatch> rows = {{random_ids(dense, 1, 1, 1)}};
  SparseTask task = fit_by_magnitude({.damping = 0.01}, dense.layer_count());
  task.solver = &find_sparse_solver("sparsegpt");
  task.score = nullptr;
  const Walked walked = walk(dense, rows, task);
  const RecordedInputs seen(dense, rows);
  const at::Tensor weight = weight_of(dense, 0, Role::UpProj);
  int64_t idle = 0;
  for (const ExpertPart& part : experts_of(dense.config(), 0, Role::UpProj, weight)) {
    const at::Tensor x = seen.input(0, Role::UpProj, part.expert);
    if (x.defined() && x.size(0) > 0) continue;
    ++idle;
    const at::Tensor own = part.part_of(weight, part.dim);
    EXPECT_TRUE(at::equal(part.part_of(walked.value(0, Role::UpProj), part.dim),
                          own * kept_by({}, own.abs(), 0.5)));
  }
  EXPECT_GT(idle, 0);
}

SparseTask ours(const Model& model, double sparsity) {
  return {.solver = &find_sparse_solver("admm"),
          .options = {.ridge = 0.1,
                      .dense_target = true,
                      .residual_correction = 0.5,
                      .token_weights = true},
          .pattern = parse_pattern("layer"),
          .layers = {0, model.layer_count()},
          .zeros = [sparsity](int, Role, int64_t rows, int64_t columns) {
            return static_cast<int64_t>(sparsity * static_cast<double>(rows * columns));
          }};
}

// Every kind of norm, bias, residual and mixture: with nothing to remove nothing changes.
TEST(SparseWalk, LeavesAWholeModelOfEveryFamilyAsItIs) {
  for (const std::string& family : golden_names()) {
    const Model dense = open_model(golden_dir(family));
    const std::vector<TokenBatch> rows = {{random_ids(dense, 6, 12, 5)}};
    const Walked whole = walk(dense, rows, ours(dense, 0));
    ASSERT_FALSE(whole.results.empty()) << family;
    for (const SparseResult& one : whole.results) {
      const at::Tensor was = weight_of(dense, one.layer, one.role);
      EXPECT_LT(relative_error(whole.value(one.layer, one.role), was), 1e-2)
          << family << one.layer << static_cast<int>(one.role);
      EXPECT_EQ(one.zeros, 0) << family;
    }
  }
}

// Half removed: nearer to the dense model than by magnitude, on text that was not seen.
TEST(SparseWalk, BringsLogitsNearerToTheDenseModel) {
  for (const char* family : {"llama", "gemma2", "qwen2", "olmo2"}) {
    const Model dense =
        tiny_model({.family = family, .hidden = 32, .head_dim = 8, .ffn = 48, .layers = 2});
    const std::vector<TokenBatch> rows = {{random_ids(dense, 24, 16, 5)}};
    const Walked half = walk(dense, rows, ours(dense, 0.5));
    const at::Tensor ids = random_ids(dense, 6, 16, 99);
    const at::Tensor wanted = logits_of(dense, ids);
    std::map<std::string, at::Tensor> cut;
    for (const SparseResult& one : half.results) {
      EXPECT_EQ(one.zeros, one.weights / 2) << family;
      const at::Tensor was = weight_of(dense, one.layer, one.role).to(at::kFloat);
      cut[dense.tensor(one.role, one.layer).name] = was * kept_by({}, was.abs(), 0.5);
    }
    const Model plain(dense.config(), std::make_shared<OverlaySource>(dense.shared_source(), cut));
    const double off = (logits_of(half.model(dense), ids) - wanted).square().sum().item<double>();
    EXPECT_LT(off, (logits_of(plain, ids) - wanted).square().sum().item<double>()) << family;
  }
}

TEST(SparseWalk, GoesOnWithLayersThatAreDone) {
  const Model dense = tiny_model({.layers = 3});
  const auto rows = text(dense);
  const SparseOptions options{.ridge = 0.1, .dense_target = true, .residual_correction = 0.5};
  const Walked all = walk(dense, rows, fit_by_magnitude(options, 3));
  const Walked rest = walk(dense, rows, fit_by_magnitude(options, 3), [&](int layer) {
    return layer < 2 ? all.layers.at(layer) : std::vector<OverlayTensor>();
  });
  EXPECT_EQ(rest.layers.size(), 1u);
  for (const OverlayTensor& one : all.layers.at(2)) {
    EXPECT_TRUE(at::equal(rest.value(2, one.tensor->spec->role), one.value.to(at::kDouble)));
  }
  expect_error(ErrorKind::Corrupt, "made with other options", [&] {
    walk(dense, rows, fit_by_magnitude(options, 3), [&](int) { return all.layers.at(1); });
  });
}

TEST(SparseWalk, LeavesLayersOutsideTheRange) {
  const Model dense = tiny_model({.layers = 3});
  SparseTask task = fit_by_magnitude({.ridge = 0.1}, 3);
  task.layers = {1, 2};
  const Walked walked = walk(dense, text(dense), task);
  EXPECT_EQ(walked.layers.size(), 1u);
  EXPECT_TRUE(walked.layers.contains(1));
}

}  // namespace
}  // namespace prunus::test::sparse_walk_test
