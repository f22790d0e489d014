// The refit of a pruned model against plain regressions on what the two models give, in FP64.
#include "prunus/solve/refit.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/model/decoder.h"

#include "solve/sub_block_fixture.h"
#include "support/expect_error.h"

namespace prunus::test::refit_test {
namespace {

struct Refitted {
  std::vector<RefitResult> results;
  std::map<int, std::vector<OverlayTensor>> layers;

  at::Tensor value(int layer, Role role) const {
    for (const OverlayTensor& one : layers.at(layer)) {
      if (one.tensor->spec->role == role) return one.value.to(at::kDouble);
    }
    return {};
  }
  Tensors tensors() const {
    Tensors all;
    for (const auto& [layer, list] : layers) {
      for (const OverlayTensor& one : list) all[one.tensor->name] = one.value;
    }
    return all;
  }
};

Refitted refit(const Model& pruned, const Model& dense, const std::vector<TokenBatch>& rows,
               const SolverOptions& options, const char* solver = "least-squares") {
  Refitted outcome;
  outcome.results =
      refit_outputs(pruned, dense, one_to_one(pruned), rows, at::kCPU, find_solver(solver), options,
                    [&](int layer, const auto& list) { outcome.layers[layer] = list; });
  return outcome;
}

Model with(const Model& pruned, const Refitted& outcome) {
  return Model(pruned.config(),
               std::make_shared<OverlaySource>(pruned.shared_source(), outcome.tensors()));
}

// What enters o_proj, by the decoder with an identity in its place.
at::Tensor attention_inputs(const Model& model, const at::Tensor& hidden) {
  BlockWeights weights = model.load_block(0, at::kCPU);
  const int64_t width = weights[Role::OProj].size(1);
  weights[Role::OProj] = at::eye(width);
  const Decoder decoder(model.config());
  return decoder.attention_part(0, weights, hidden).flatten(0, 1).to(at::kDouble);
}

// The first matrix of the walk: both models read the same embedding, so that its target is the
// dense part's output whatever β is.
TEST(Refit, FirstOutputMatrixIsThatOfARegression) {
  const Model dense = tiny_model({});
  const Model pruned = halved(dense);
  const auto rows = text(dense, 12, 20);
  for (const double beta : {0.0, 0.5}) {
    const Refitted outcome = refit(
        pruned, dense, rows, {.ridge = 0, .residual_correction = beta, .token_weights = false});
    const at::Tensor hidden = BlockStream(dense, at::kCPU).embed(rows)[0];
    const at::Tensor target = Decoder(dense.config())
                                  .attention_part(0, dense.load_block(0, at::kCPU), hidden)
                                  .flatten(0, 1)
                                  .to(at::kDouble);
    const at::Tensor x = attention_inputs(pruned, hidden);
    const at::Tensor wanted = std::get<0>(at::linalg_lstsq(x, target)).t();
    EXPECT_LT(relative_error(outcome.value(0, Role::OProj), wanted), 1e-4) << beta;
    const double left = relative_square(target, at::matmul(x, wanted.t()));
    EXPECT_NEAR(outcome.results[0].error_after, left, 1e-4 * left);
    EXPECT_LT(outcome.results[0].error_after, outcome.results[0].error_before);
  }
}

TEST(Refit, LeavesAWholeModelAsItIs) {
  for (const char* family : {"llama", "gemma2", "qwen2"}) {
    const Model dense = tiny_model({.family = family, .head_dim = 8});
    const Refitted outcome = refit(dense, dense, text(dense, 4, 12), {.ridge = 0.1});
    for (const RefitResult& one : outcome.results) {
      EXPECT_LT(one.error_before, 1e-6) << family << one.layer << one.part;
      EXPECT_LT(one.error_after, 1e-6) << family << one.layer << one.part;
    }
    for (int layer = 0; layer < 2; ++layer) {
      const BlockWeights weights = dense.load_block(layer, at::kCPU);
      for (const Role role : {Role::OProj, Role::DownProj}) {
        EXPECT_LT(relative_error(outcome.value(layer, role), weights[role].to(at::kDouble)), 2e-3)
            << family;
      }
    }
  }
}

// Text that was not seen, of every kind of norm and residual: nearer to the dense model.
TEST(Refit, BringsLogitsNearerToTheDenseModel) {
  for (const char* family : {"llama", "gemma2", "qwen2", "olmo2"}) {
    const Model dense = tiny_model({.family = family, .hidden = 32, .head_dim = 8, .ffn = 24});
    const Model pruned = shrink(dense, {{AxisLabel::Ffn, 0, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18}},
                                        {AxisLabel::Ffn, 1, {1, 2, 3, 7, 8, 9, 11, 13, 15, 17}},
                                        {AxisLabel::KvGroup, 0, {0, 2, 3}}});
    const Refitted outcome = refit(pruned, dense, text(dense, 24, 16), {});
    const at::Tensor ids = random_ids(dense, 6, 16, 99);
    const at::Tensor wanted = logits_of(dense, ids);
    const double before = relative_square(wanted, logits_of(pruned, ids));
    const double after = relative_square(wanted, logits_of(with(pruned, outcome), ids));
    EXPECT_LT(after, before) << family;
  }
}

// Products of the models are rounded to BF16, sums and equations are not.
TEST(Refit, InBfloat16IsNearThatInFloat) {
  for (const char* family : {"llama", "gemma2"}) {
    Model dense = tiny_model({.family = family, .hidden = 32, .head_dim = 8, .ffn = 24});
    Model pruned = halved(dense);
    const auto rows = text(dense, 24, 16);
    const Refitted exact = refit(pruned, dense, rows, {});
    dense.set_precision(at::kBFloat16);
    pruned.set_precision(at::kBFloat16);
    const Refitted rounded = refit(pruned, dense, rows, {});
    ASSERT_EQ(rounded.results.size(), exact.results.size());
    for (size_t i = 0; i < exact.results.size(); ++i) {
      EXPECT_NEAR(rounded.results[i].error_after, exact.results[i].error_after, 0.02) << family;
      EXPECT_NE(rounded.results[i].error_after, exact.results[i].error_after) << family;
      EXPECT_LT(rounded.results[i].error_after, rounded.results[i].error_before) << family;
    }
    for (const auto& [layer, list] : rounded.layers) {
      for (const OverlayTensor& one : list) EXPECT_EQ(one.value.scalar_type(), at::kFloat);
    }
  }
}

TEST(Refit, GoesOnWithLayersThatAreDone) {
  const Model dense = tiny_model({});
  const Model pruned = halved(dense);
  const auto rows = text(dense, 6, 12);
  const Refitted whole = refit(pruned, dense, rows, {});
  Refitted rest;
  rest.results = refit_outputs(
      pruned, dense, one_to_one(pruned), rows, at::kCPU, find_solver("least-squares"), {},
      [&](int layer, const auto& list) { rest.layers[layer] = list; },
      [&](int layer) { return layer == 0 ? whole.layers.at(0) : std::vector<OverlayTensor>(); });
  EXPECT_FALSE(rest.layers.contains(0));
  for (const Role role : {Role::OProj, Role::DownProj}) {
    EXPECT_TRUE(at::equal(rest.value(1, role), whole.value(1, role)));
  }
  ASSERT_EQ(rest.results.size(), whole.results.size());
  EXPECT_EQ(rest.results[0].error_after, whole.results[0].error_after);
}

TEST(Refit, SaysWhatIsOutOfRange) {
  const Model dense = tiny_model({});
  const auto rows = text(dense, 2, 8);
  expect_error(ErrorKind::InvalidArgument, "ridge is -1",
               [&] { refit(dense, dense, rows, {.ridge = -1}); });
  expect_error(ErrorKind::InvalidArgument, "residual correction is 2",
               [&] { refit(dense, dense, rows, {.residual_correction = 2}); });
}

}  // namespace
}  // namespace prunus::test::refit_test
