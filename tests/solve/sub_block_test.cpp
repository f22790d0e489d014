#include "prunus/solve/sub_block.h"

#include <limits>
#include <set>
#include <utility>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/solve/sub_block_part.h"

#include "solve/sub_block_fixture.h"
#include "support/expect_error.h"
#include "support/sub_layers.h"
#include "support/written_down.h"

namespace prunus::test::sub_block_test {
namespace {

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

// What was dropped cannot learn; the part behind it makes up for some of it.
TEST(SubBlock, LeavesADroppedPartToThoseBehindIt) {
  const Model dense = tiny_model({.kv_heads = 2});
  const Model pruned = without(dense, SubLayer::Attention, 1);
  SubBlockOptions options = kShort;
  options.residual_correction = 1;
  const Outcome outcome = repair(pruned, dense, text(dense, 8, 7), options);
  ASSERT_EQ(outcome.results.size(), 4u);
  const SubBlockResult &attention = outcome.results[2], &ffn = outcome.results[3];
  EXPECT_EQ(attention.error_before, 1);
  EXPECT_EQ(attention.error_after, 1);
  EXPECT_EQ(attention.steps, 0);
  EXPECT_GT(ffn.steps, 0);
  EXPECT_LT(ffn.error_after, ffn.error_before);
  EXPECT_FALSE(outcome.tensors().contains(dense.tensor(Role::OProj, 1).name));
}

// How often each layer was read ahead, by layer.
std::map<int, int> read_ahead(const std::vector<std::string>& calls) {
  std::map<int, int> times;
  for (const std::string& call : calls) {
    if (call[0] == 'p') ++times[std::stoi(call.substr(1))];
  }
  return times;
}

// Of the dense model's layers 0 to 4 the pruned one has 0, 2 and 3.
TEST(SubBlock, ReadsEveryLayerOfBothModelsAheadOnceAtMost) {
  const Model plain = tiny_model({.layers = 5});
  const std::vector<int64_t> kept = {0, 2, 3};
  for (const double correction : {0.0, 0.5}) {
    const auto dense_source = std::make_shared<WrittenDown>(plain.shared_source());
    const Model dense(plain.config(), dense_source);
    const Model cut = shrink(plain, {{AxisLabel::Layer, -1, kept}});
    const auto pruned_source = std::make_shared<WrittenDown>(cut.shared_source());
    const Model pruned(cut.config(), pruned_source);
    SubBlockOptions options = kShort;
    options.epochs = 1;
    options.residual_correction = correction;
    repair(pruned, dense, text(plain, 4, 5), options, kept);
    EXPECT_EQ(read_ahead(pruned_source->calls), (std::map<int, int>{{1, 1}, {2, 1}}));
    // Layer 1 is passed only where the dense stream is followed, and is read ahead behind layer 0.
    EXPECT_EQ(read_ahead(dense_source->calls), correction == 0
                                                   ? (std::map<int, int>{{2, 1}, {3, 1}})
                                                   : (std::map<int, int>{{1, 1}, {3, 1}}));
  }
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
      [&](int layer) { return layer < 2 ? whole.layers.at(layer) : std::vector<OverlayTensor>(); });
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
  const auto restore = [&](std::vector<OverlayTensor> list) {
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
  refuse(precise, {0, 1}, rows, "is set to Double");
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
}  // namespace prunus::test::sub_block_test
