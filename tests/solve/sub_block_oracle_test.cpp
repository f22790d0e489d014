// Sub-block repair against what can be computed in another way: closed forms, and targets by hand.
#include <utility>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/model/decoder.h"
#include "prunus/solve/sub_block_part.h"

#include "solve/sub_block_fixture.h"

namespace prunus::test::sub_block_oracle_test {
namespace {

at::Tensor last_hidden(const Model& model, const std::vector<TokenBatch>& rows) {
  const BlockStream stream(model, at::kCPU);
  auto hidden = stream.embed(rows);
  stream.forward(hidden);
  return hidden[0];
}

// A model whose odd channels and heads compute what the even ones before them do; the even ones
// alone can give its outputs, with other weights behind them.
Model redundant() {
  const Model model = tiny_model({});
  auto weights = copy_weights(model);
  for (auto& [name, value] : weights->tensors) {
    const bool heads = name.find("q_proj") != std::string::npos ||
                       name.find("k_proj") != std::string::npos ||
                       name.find("v_proj") != std::string::npos;
    const bool channels =
        name.find("gate") != std::string::npos || name.find("up_proj") != std::string::npos;
    if (!heads && !channels) continue;
    const at::Tensor units = value.view({-1, 2, heads ? 4 : 1, value.size(1)});
    units.select(1, 1).copy_(units.select(1, 0));
  }
  return Model(model.config(), weights);
}

TEST(SubBlockOracle, EveryPartAndTheWholeModelComeCloserOnTextTheyDidNotSee) {
  const Model dense = redundant();
  const Model pruned = shrink(dense, {{AxisLabel::Ffn, 0, {0, 2, 4, 6, 8, 10}},
                                      {AxisLabel::Ffn, 1, {0, 2, 4, 6, 8, 10}},
                                      {AxisLabel::KvGroup, 0, {0, 2}},
                                      {AxisLabel::KvGroup, 1, {0, 2}}});
  const Outcome outcome =
      repair(pruned, dense, text(dense, 64, 12), {.epochs = 16, .batch_rows = 8, .lr = 1e-2});
  const std::vector<std::string> parts = {"attention", "ffn", "attention", "ffn"};
  ASSERT_EQ(outcome.results.size(), parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    const SubBlockResult& one = outcome.results[i];
    EXPECT_EQ(one.part, parts[i]);
    EXPECT_EQ(one.layer, static_cast<int>(i / 2));
    EXPECT_EQ(one.steps, 16 * 8);  // 58 of 64 rows are trained on, 8 at a time
    EXPECT_TRUE(one.kept);
    EXPECT_LT(one.error_after, 0.25 * one.error_before) << one.layer << " " << one.part;
  }
  const auto fresh = text(dense, 16, 12, 99);
  const at::Tensor wanted = last_hidden(dense, fresh);
  const double before = relative_square(wanted, last_hidden(pruned, fresh));
  const double after = relative_square(wanted, last_hidden(repaired_model(pruned, outcome), fresh));
  EXPECT_LT(after, 0.1 * before);
}

// Over one token attention is o·v·norm(x): of rank 4 at most where one head of four is left, and
// the wanted output is linear in norm(x). So the least error is what the rank cuts off
// (Eckart–Young), and it can be reached.
TEST(SubBlockOracle, AttentionOverSingleTokensReachesTheBestOutputOfItsRank) {
  const Model dense = tiny_model({.layers = 1});
  const Model pruned = shrink(dense, {{AxisLabel::KvGroup, 0, {1}}});
  const at::Tensor ids = at::arange(29, at::kLong).view({29, 1});
  const at::Tensor wanted =
      Decoder(dense.config())
          .attention_part(0, dense.load_block(0, at::kCPU), embed(dense, ids, at::kCPU));
  const at::Tensor energy = at::linalg_svdvals(wanted.flatten(0, 1).to(at::kDouble)).square();
  const double least = (energy.narrow(0, 4, 12).sum() / energy.sum()).item<double>();
  const Outcome outcome = repair(
      pruned, dense, {{ids}}, {.epochs = 300, .batch_rows = 29, .lr = 4e-2, .valid_fraction = 0});
  EXPECT_GT(outcome.results[0].error_before, 1.5 * least);
  EXPECT_GE(outcome.results[0].error_after, least * (1 - 1e-5));
  EXPECT_LE(outcome.results[0].error_after, least * 1.02);
}

// The optimum over all weights lies between what the number of channels allows at all
// (Eckart–Young) and the least-squares down_proj behind the channels as they are.
TEST(SubBlockOracle, FeedForwardEndsBetweenTheRankBoundAndLeastSquares) {
  const Model dense = tiny_model({.layers = 1});
  const Model pruned = shrink(dense, {{AxisLabel::Ffn, 0, {0, 3, 5, 11}}});
  const auto rows = text(dense, 3, 20);
  const Decoder decoder(dense.config());
  const BlockWeights weights = dense.load_block(0, at::kCPU);
  const BlockWeights cut = pruned.load_block(0, at::kCPU);
  at::Tensor x = embed(dense, rows[0].ids, at::kCPU);
  x = x + decoder.attention_part(0, weights, x);
  const at::Tensor wanted = decoder.feed_forward_part(0, weights, x).flatten(0, 1).to(at::kDouble);
  const at::Tensor normed = decoder.norm(x, cut[Role::MlpNorm]).flatten(0, 1).to(at::kDouble);
  const at::Tensor channels = at::silu(normed.mm(cut[Role::GateProj].t().to(at::kDouble))) *
                              normed.mm(cut[Role::UpProj].t().to(at::kDouble));
  const at::Tensor fitted = channels.mm(at::linalg_pinv(channels)).mm(wanted);
  const at::Tensor energy = at::linalg_svdvals(wanted).square();
  const double least = (energy.narrow(0, 4, 12).sum() / energy.sum()).item<double>();
  const double by_least_squares = relative_square(wanted, fitted);
  const Outcome outcome = repair(pruned, dense, rows, {.epochs = 300, .batch_rows = 3, .lr = 1e-2});
  EXPECT_LT(outcome.results[0].error_before, 1e-14);
  const SubBlockResult& ffn = outcome.results[1];
  EXPECT_NEAR(ffn.error_before,
              relative_square(wanted, channels.mm(cut[Role::DownProj].t().to(at::kDouble))), 1e-5);
  EXPECT_LT(by_least_squares, 0.95 * ffn.error_before);
  EXPECT_LT(ffn.error_after, by_least_squares);
  EXPECT_GT(ffn.error_after, least);
}

// Layers 1 and 3 are gone; what is left is the dense model's to the bit, so that all that a part
// lacks comes from the stream.
TEST(SubBlockOracle, TheDenseStreamRunsThroughLayersThatWereDropped) {
  const Model dense = tiny_model({.layers = 4});
  const Model pruned = shrink(dense, {{AxisLabel::Layer, -1, {0, 2}}});
  const auto rows = text(dense, 3, 8);
  SubBlockOptions options = kShort;
  options.lr = 1e-30;  // nothing moves: what is reported are the targets
  options.residual_correction = 0.3;
  const Outcome outcome = repair(pruned, dense, rows, options, {0, 2});
  EXPECT_LT(outcome.results[0].error_before, 1e-14);
  EXPECT_LT(outcome.results[1].error_before, 1e-14);
  const Decoder decoder(dense.config());
  const auto weights = [&](int layer) { return dense.load_block(layer, at::kCPU); };
  at::Tensor pruned_x = decoder.block(0, weights(0), embed(dense, rows[0].ids, at::kCPU));
  at::Tensor x = decoder.block(1, weights(1), pruned_x);
  const BlockWeights last = weights(2);
  for (const Part part : {Part::Attention, Part::FeedForward}) {
    const PartForward f{decoder, 2, part};
    const at::Tensor output = f(last, pruned_x);
    const at::Tensor target = 0.7 * output + 0.3 * (f(last, x) + x - pruned_x);
    const SubBlockResult& one = outcome.results[part == Part::Attention ? 2 : 3];
    EXPECT_NEAR(one.error_before, relative_square(target, output), 1e-5);
    x = x + f(last, x);
    pruned_x = pruned_x + output;
  }
  options.residual_correction = 0;
  for (const SubBlockResult& one : repair(pruned, dense, rows, options, {0, 2}).results) {
    EXPECT_LT(one.error_before, 1e-14);
  }
}

TEST(SubBlockOracle, RowsOfSeveralLengthsCountTokenByToken) {
  const Model dense = tiny_model({.layers = 1});
  const Model pruned = shrink(dense, {{AxisLabel::KvGroup, 0, {0, 3}}});
  const std::vector<TokenBatch> rows = {{random_ids(dense, 4, 9)}, {random_ids(dense, 5, 3, 8)}};
  SubBlockOptions options = kShort;
  options.valid_fraction = 0;
  const Outcome outcome = repair(pruned, dense, rows, options);
  std::vector<at::Tensor> wanted;
  std::vector<at::Tensor> given;
  for (const TokenBatch& batch : rows) {
    const at::Tensor x = embed(dense, batch.ids, at::kCPU);
    const PartForward to{Decoder(dense.config()), 0, Part::Attention};
    wanted.push_back(to(dense.load_block(0, at::kCPU), x).flatten());
    const PartForward from{Decoder(pruned.config()), 0, Part::Attention};
    given.push_back(from(pruned.load_block(0, at::kCPU), x).flatten());
  }
  EXPECT_NEAR(outcome.results[0].error_before, relative_square(at::cat(wanted), at::cat(given)),
              1e-5);
  EXPECT_LT(outcome.results[0].error_after, 0.9 * outcome.results[0].error_before);
  EXPECT_EQ(outcome.results[0].steps, 6 * 3);  // 9 rows, 4 at a time
}

}  // namespace
}  // namespace prunus::test::sub_block_oracle_test
