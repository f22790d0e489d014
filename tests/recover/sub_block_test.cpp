#include "prunus/recover/sub_block.h"

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/graph/shrink.h"
#include "prunus/model/decoder.h"
#include "prunus/recover/merge.h"
#include "prunus/recover/sub_block_part.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

struct Outcome {
  std::vector<SubBlockResult> results;
  std::map<int, std::vector<RepairedTensor>> layers;  // as `done` gave them

  Tensors tensors() const {
    Tensors all;
    for (const auto& [layer, list] : layers) {
      for (const RepairedTensor& one : list) all[one.tensor->name] = one.value;
    }
    return all;
  }
};

std::vector<int64_t> one_to_one(const Model& model) {
  std::vector<int64_t> layers(static_cast<size_t>(model.layer_count()));
  std::iota(layers.begin(), layers.end(), int64_t{0});
  return layers;
}

Outcome repair(const Model& pruned, const Model& dense, const std::vector<TokenBatch>& rows,
               const SubBlockOptions& options, std::vector<int64_t> layers = {}) {
  if (layers.empty()) layers = one_to_one(pruned);
  Outcome outcome;
  outcome.results =
      repair_sub_blocks(pruned, dense, layers, rows, at::kCPU, options,
                        [&](int layer, const auto& list) { outcome.layers[layer] = list; });
  return outcome;
}

Model repaired_model(const Model& pruned, const Outcome& outcome) {
  return Model(pruned.config(),
               std::make_shared<ReplacedSource>(pruned.shared_source(), outcome.tensors()));
}

// Half of the channels and half of the heads of both layers are gone.
Model halved(const Model& dense) {
  return shrink(dense, {{AxisLabel::Ffn, 0, {0, 2, 4, 6, 8, 10}},
                        {AxisLabel::Ffn, 1, {1, 2, 3, 7, 8, 9}},
                        {AxisLabel::KvGroup, 0, {0, 2}},
                        {AxisLabel::KvGroup, 1, {1, 3}}});
}

std::vector<TokenBatch> text(const Model& model, int64_t rows, int64_t seq, uint64_t seed = 3) {
  return {{random_ids(model, rows, seq, seed)}};
}

at::Tensor last_hidden(const Model& model, const std::vector<TokenBatch>& rows) {
  const BlockStream stream(model, at::kCPU);
  auto hidden = stream.embed(rows);
  stream.forward(hidden);
  return hidden[0];
}

double relative_square(const at::Tensor& target, const at::Tensor& output) {
  const at::Tensor wanted = target.to(at::kDouble);
  return ((wanted - output.to(at::kDouble)).square().sum() / wanted.square().sum()).item<double>();
}

void expect_same_tensors(const Tensors& a, const Tensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, value] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_EQ(value.scalar_type(), b.at(name).scalar_type()) << name;
    EXPECT_TRUE(at::equal(value, b.at(name))) << name;
  }
}

void expect_same_results(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.results.size(), b.results.size());
  for (size_t i = 0; i < a.results.size(); ++i) {
    EXPECT_EQ(a.results[i].layer, b.results[i].layer);
    EXPECT_EQ(a.results[i].part, b.results[i].part);
    EXPECT_EQ(a.results[i].error_before, b.results[i].error_before);
    EXPECT_EQ(a.results[i].error_after, b.results[i].error_after);
    EXPECT_EQ(a.results[i].kept, b.results[i].kept);
    EXPECT_EQ(a.results[i].steps, b.results[i].steps);
  }
}

constexpr SubBlockOptions kShort{.epochs = 6, .batch_rows = 4, .lr = 5e-3};

TEST(SubBlock, AnUnprunedModelLacksNothingAndStaysAsItIs) {
  for (const double correction : {0.0, 0.3, 1.0}) {
    const Model model = tiny_model({.kv_heads = 2});
    SubBlockOptions options = kShort;
    options.residual_correction = correction;
    const Outcome outcome = repair(model, model, text(model, 8, 7), options);
    ASSERT_EQ(outcome.results.size(), 4u);
    for (const SubBlockResult& one : outcome.results) {
      EXPECT_LT(one.error_before, 1e-14);  // products of other batches round differently
      EXPECT_EQ(one.error_after, one.error_before);
      EXPECT_EQ(one.steps, 0);
      EXPECT_FALSE(one.kept);
    }
    for (const auto& [name, value] : outcome.tensors()) {
      EXPECT_TRUE(at::equal(value, copy_weights(model)->tensors.at(name))) << name;
    }
  }
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

TEST(SubBlock, EveryPartAndTheWholeModelComeCloserOnTextTheyDidNotSee) {
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
TEST(SubBlock, AttentionOverSingleTokensReachesTheBestOutputOfItsRank) {
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
TEST(SubBlock, FeedForwardEndsBetweenTheRankBoundAndLeastSquares) {
  const Model dense = tiny_model({.layers = 1});
  const Model pruned = shrink(dense, {{AxisLabel::Ffn, 0, {0, 3, 5, 11}}});
  const auto rows = text(dense, 3, 20);
  const Decoder decoder(dense.config());
  const BlockWeights weights = dense.load_block(0, at::kCPU);
  const BlockWeights cut = pruned.load_block(0, at::kCPU);
  at::Tensor x = embed(dense, rows[0].ids, at::kCPU);
  x = x + decoder.attention_part(0, weights, x);
  const at::Tensor wanted = decoder.feed_forward_part(weights, x).flatten(0, 1).to(at::kDouble);
  const at::Tensor normed = decoder.rms_norm(x, cut[Role::MlpNorm]).flatten(0, 1).to(at::kDouble);
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

TEST(SubBlock, ZerosOfSparseWeightsStayZeroAndTheOthersMove) {
  const Model dense = tiny_model({});
  auto sparse = copy_weights(dense);
  for (auto& [name, value] : sparse->tensors) {
    // Two of every four inputs, the smaller ones, are zero.
    if (name.find("proj") == std::string::npos) continue;
    const at::Tensor fours = value.view({value.size(0), -1, 4});
    const at::Tensor small = std::get<1>(fours.abs().topk(2, -1, /*largest=*/false));
    value = fours.scatter(-1, small, 0).view(value.sizes());
  }
  const Model pruned(dense.config(), sparse);
  const Outcome outcome = repair(pruned, dense, text(dense, 16, 9), kShort);
  for (const SubBlockResult& one : outcome.results) EXPECT_TRUE(one.kept);
  for (const auto& [name, value] : outcome.tensors()) {
    const at::Tensor& before = sparse->tensors.at(name);
    const at::Tensor zero = before == 0;
    EXPECT_EQ(value.masked_select(zero).count_nonzero().item<int64_t>(), 0) << name;
    const at::Tensor moved = (value != before).sum();
    EXPECT_GT(moved.item<int64_t>(), (before.numel() - zero.sum().item<int64_t>()) / 2) << name;
  }
}

TEST(SubBlock, TheSameSeedGivesTheSameBitsAndTheModelsAreNotWrittenTo) {
  const Model dense = tiny_model({});
  const Model pruned(dense.config(), copy_weights(tiny_model({}, 8)));
  const auto rows = text(dense, 12, 9);
  const Tensors before = copy_weights(pruned)->tensors;
  const Outcome once = repair(pruned, dense, rows, kShort);
  const Outcome again = repair(pruned, dense, rows, kShort);
  expect_same_tensors(once.tensors(), again.tensors());
  expect_same_results(once, again);
  SubBlockOptions other = kShort;
  other.seed = 1;
  const Outcome different = repair(pruned, dense, rows, other);
  EXPECT_FALSE(at::equal(once.layers.at(1)[0].value, different.layers.at(1)[0].value));
  expect_same_tensors(copy_weights(pruned)->tensors, before);
}

TEST(SubBlock, AnInterruptedRepairGoesOnBehindItsLastLayerAndEndsInTheSameBits) {
  const Model dense = tiny_model({.layers = 3});
  const Model pruned =
      shrink(dense, {{AxisLabel::Ffn, 0, {0, 1, 2, 3}}, {AxisLabel::KvGroup, 2, {0, 1}}});
  const auto rows = text(dense, 8, 9);
  const Outcome whole = repair(pruned, dense, rows, kShort);
  Outcome rest;
  rest.results = repair_sub_blocks(
      pruned, dense, {0, 1, 2}, rows, at::kCPU, kShort,
      [&](int layer, const auto& list) { rest.layers[layer] = list; },
      [&](int layer) {
        return layer < 2 ? whole.layers.at(layer) : std::vector<RepairedTensor>();
      });
  EXPECT_EQ(rest.layers.size(), 1u);  // layers 0 and 1 were not trained again
  for (const int layer : {0, 1}) rest.layers[layer] = whole.layers.at(layer);
  expect_same_tensors(whole.tensors(), rest.tensors());
  expect_same_results(whole, rest);
}

TEST(SubBlock, RefusesRestoredTensorsThatAreNotThoseOfTheLayer) {
  const Model dense = tiny_model({});
  const Model pruned = halved(dense);
  const auto rows = text(dense, 4, 5);
  const Outcome whole = repair(pruned, dense, rows, kShort);
  const auto restore = [&](std::vector<RepairedTensor> list) {
    repair_sub_blocks(
        pruned, dense, {0, 1}, rows, at::kCPU, kShort, [](int, const auto&) {},
        [&](int) { return list; });
  };
  auto missing = whole.layers.at(0);
  missing.pop_back();
  expect_error(ErrorKind::Corrupt, "lacks", [&] { restore(missing); });
  auto misshapen = whole.layers.at(0);
  misshapen[0].value = at::ones({3});
  expect_error(ErrorKind::Corrupt, "input_layernorm", [&] { restore(misshapen); });
}

// Weights as a BF16 file has them.
class HalfSource : public MemorySource {
 public:
  explicit HalfSource(const Model& model) {
    tensors = copy_weights(model)->tensors;
    for (auto& [name, value] : tensors) value = value.to(at::kBFloat16);
  }
  at::ScalarType dtype(const TensorInfo&) const override { return at::kBFloat16; }
};

// The errors reported are those of the tensors given out, part by part on the stream they make.
TEST(SubBlock, WhatIsReportedHoldsForTheRoundedTensors) {
  const Model dense = tiny_model({});
  const Model cut = halved(dense);
  const Model pruned(cut.config(), std::make_shared<HalfSource>(cut));
  const auto rows = text(dense, 16, 9);
  const Outcome outcome = repair(pruned, dense, rows, kShort);
  for (const auto& [name, value] : outcome.tensors()) {
    EXPECT_EQ(value.scalar_type(), at::kBFloat16) << name;
  }
  const Model written = repaired_model(pruned, outcome);
  const auto again = repair_sub_blocks(
      written, dense, {0, 1}, rows, at::kCPU, kShort, [](int, const auto&) {},
      [&](int layer) { return outcome.layers.at(layer); });
  for (size_t i = 0; i < again.size(); ++i) {
    EXPECT_TRUE(outcome.results[i].kept);
    EXPECT_EQ(again[i].error_before, outcome.results[i].error_after);
    EXPECT_FALSE(again[i].kept);
  }
}

TEST(SubBlock, KeepsTheOldWeightsWhereTrainingMadeThemWorse) {
  const Model dense = tiny_model({});
  const Model pruned = halved(dense);
  SubBlockOptions reckless = kShort;
  reckless.lr = 30;
  const Outcome outcome = repair(pruned, dense, text(dense, 8, 6), reckless);
  for (const SubBlockResult& one : outcome.results) {
    EXPECT_FALSE(one.kept);
    EXPECT_GT(one.steps, 0);
    EXPECT_EQ(one.error_after, one.error_before);
  }
  expect_same_tensors(outcome.tensors(), [&] {
    Tensors same;
    for (const TensorInfo& info : pruned.tensors()) {
      if (outcome.tensors().contains(info.name)) same[info.name] = pruned.source().read(info);
    }
    return same;
  }());
}

// Layers 1 and 3 are gone; what is left is the dense model's to the bit, so that all that a part
// lacks comes from the stream.
TEST(SubBlock, TheDenseStreamRunsThroughLayersThatWereDropped) {
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

TEST(SubBlock, RowsOfSeveralLengthsCountTokenByToken) {
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

std::set<std::string> changed(const Model& pruned, const Outcome& outcome) {
  std::set<std::string> names;
  for (const TensorInfo& info : pruned.tensors()) {
    const auto tensors = outcome.tensors();
    const auto found = tensors.find(info.name);
    if (found == tensors.end() || at::equal(found->second, pruned.source().read(info))) continue;
    names.insert(info.name.substr(std::string("model.layers.0.").size()));
  }
  return names;
}

TEST(SubBlock, TrainsProjectionsBiasesAndOnRequestTheNormsInFront) {
  const std::set<std::string> projections = {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                             "self_attn.v_proj.weight", "self_attn.o_proj.weight",
                                             "mlp.gate_proj.weight",    "mlp.up_proj.weight",
                                             "mlp.down_proj.weight"};
  const std::set<std::string> norms = {"input_layernorm.weight", "post_attention_layernorm.weight"};
  const std::set<std::string> biases = {"self_attn.q_proj.bias", "self_attn.k_proj.bias",
                                        "self_attn.v_proj.bias"};
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const Model dense = tiny_model({.family = family, .layers = 1});
    const Model pruned =
        shrink(dense, {{AxisLabel::Ffn, 0, {0, 2, 4, 6, 8, 10}}, {AxisLabel::KvGroup, 0, {0, 2}}});
    std::set<std::string> wanted = projections;
    if (std::string(family) == "qwen2") wanted.insert(biases.begin(), biases.end());
    SubBlockOptions options = kShort;
    options.train_norms = false;
    const auto rows = text(dense, 8, 9);
    EXPECT_EQ(changed(pruned, repair(pruned, dense, rows, options)), wanted) << family;
    options.train_norms = true;
    wanted.insert(norms.begin(), norms.end());
    EXPECT_EQ(changed(pruned, repair(pruned, dense, rows, options)), wanted) << family;
  }
}

TEST(SubBlock, AShareOfTheRowsJudgesAndIsNotTrainedOn) {
  const Model model = tiny_model({});
  const std::vector<TokenBatch> ten = {{random_ids(model, 7, 4)}, {random_ids(model, 3, 5)}};
  for (const auto& [share, judges] : {std::pair{0.2, 2}, {0.001, 1}, {0.999, 9}}) {
    const RowSplit split = split_rows(ten, {.valid_fraction = share});
    EXPECT_EQ(static_cast<int>(split.valid.size()), judges);
    std::set<int64_t> all(split.train.begin(), split.train.end());
    EXPECT_EQ(all.size(), split.train.size());
    all.insert(split.valid.begin(), split.valid.end());
    EXPECT_EQ(all.size(), 10u);
  }
  EXPECT_EQ(split_rows(ten, {}).places[8], (std::pair<size_t, int64_t>{1, 1}));
  EXPECT_NE(split_rows(ten, {.seed = 0}).train, split_rows(ten, {.seed = 1}).train);
  const RowSplit few = split_rows(text(model, 3, 4), {});
  EXPECT_EQ(few.train, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(few.valid, few.train);
  const RowSplit unjudged = split_rows(ten, {.valid_fraction = 0});
  EXPECT_EQ(unjudged.valid, unjudged.train);
}

TEST(SubBlock, RefusesOptionsOutOfRange) {
  const Model model = tiny_model({});
  const auto refuse = [&](const SubBlockOptions& options, const std::string& what) {
    expect_error(ErrorKind::InvalidArgument, what,
                 [&] { repair(model, model, text(model, 4, 5), options); });
  };
  refuse({.epochs = 0}, "0 epochs");
  refuse({.batch_rows = 0}, "0 rows an update");
  refuse({.lr = 0}, "learning rate");
  refuse({.lr = std::numeric_limits<double>::infinity()}, "learning rate");
  refuse({.residual_correction = 1.1}, "residual correction is 1.1");
  refuse({.residual_correction = -0.1}, "residual correction");
  refuse({.valid_fraction = 1}, "validation share");
}

TEST(SubBlock, RefusesModelsAndRowsThatDoNotFit) {
  const Model dense = tiny_model({});
  const auto refuse = [&](const Model& pruned, std::vector<int64_t> layers,
                          const std::vector<TokenBatch>& rows, const std::string& what) {
    expect_error(ErrorKind::InvalidArgument, what,
                 [&] { repair(pruned, dense, rows, kShort, layers); });
  };
  const auto rows = text(dense, 4, 5);
  refuse(shrink(dense, {{AxisLabel::Hidden, -1, {0, 1, 2, 3}}}), {0, 1}, rows, "hidden_size is 4");
  refuse(tiny_model({.vocab = 30}), {0, 1}, rows, "vocabulary is 30");
  refuse(tiny_model({.layers = 3}), {0, 1}, rows, "2 layers, expected 3");
  refuse(dense, {0, 2}, rows, "dense layer 2 after 0");
  refuse(dense, {1, 1}, rows, "dense layer 1 after 1");
  refuse(dense, {-1, 1}, rows, "dense layer -1");
  refuse(dense, {0, 1}, {}, "no rows");
  refuse(dense, {0, 1}, {{at::arange(4)}}, "expected [rows, seq]");
  Model precise = tiny_model({});
  precise.set_precision(at::kDouble);
  refuse(precise, {0, 1}, rows, "FP32");
}

TEST(SubBlock, AnErrorThatIsNotFiniteNamesTheLayerAndThePart) {
  const Model model = tiny_model({});
  auto huge = copy_weights(model);
  huge->tensors.at("model.layers.1.mlp.down_proj.weight").mul_(1e25);
  const Model dense(model.config(), huge);
  expect_error(ErrorKind::Numeric, "layer 1, ffn",
               [&] { repair(model, dense, text(model, 4, 5), kShort); });
}

}  // namespace
}  // namespace prunus::test
