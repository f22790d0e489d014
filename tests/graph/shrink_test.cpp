#include "prunus/graph/shrink.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "graph/fixture.h"
#include "support/expect_error.h"
#include "support/sub_layers.h"

namespace prunus::test::shrink_test {
namespace {

void expect_refused(const Model& model, const std::vector<Keep>& keeps, const std::string& part,
                    ErrorKind kind = ErrorKind::InvalidArgument) {
  expect_error(kind, part, [&] { shrink(model, keeps); });
}

// Pairs in both layers, values in both layers, head_dim 4 → 2.
std::vector<Keep> half_the_head_channels(int64_t kv_heads) {
  std::vector<int64_t> values;
  for (int64_t head = 0; head < kv_heads; ++head) {
    values.push_back(4 * head + 1);
    values.push_back(4 * head + 2);
  }
  return {{AxisLabel::RopePair, 0, {1}},
          {AxisLabel::RopePair, 1, {0}},
          {AxisLabel::ValueDim, 0, values},
          {AxisLabel::ValueDim, 1, values}};
}

TEST(Shrink, RefusesKeepListsThatMakeNoSense) {
  const Model model = tiny_model({});
  expect_refused(model, {{AxisLabel::Ffn, 0, {}}}, "nothing is kept");
  expect_refused(model, {{AxisLabel::Ffn, 0, {1, 1}}}, "kept unit 1 after 1");
  expect_refused(model, {{AxisLabel::Ffn, 0, {2, 1}}}, "kept unit 1 after 2");
  expect_refused(model, {{AxisLabel::Ffn, 0, {12}}}, "below 12");
  expect_refused(model, {{AxisLabel::Ffn, 0, {-1}}}, "kept unit -1");
  expect_refused(model, {{AxisLabel::Ffn, 9, {1}}}, "no group set layers.9.ffn");
  expect_refused(model, {{AxisLabel::Hidden, 0, {1}}}, "no group set");
  expect_refused(model, {{AxisLabel::Vocab, -1, {29}}}, "below 29");
  expect_refused(model, {{AxisLabel::Layer, -1, {}}}, "nothing is kept");
  expect_refused(model, {{AxisLabel::Layer, -1, {0, 2}}}, "below 2");
  expect_refused(model, {{AxisLabel::Layer, 0, {0}}}, "whole model");
}

TEST(Shrink, RefusesSharesOfUnequalSize) {
  const Model model = tiny_model({.kv_heads = 2});
  expect_refused(model, {{AxisLabel::QueryHead, 0, {0, 1, 2}}}, "layers.0.query_head");
  expect_refused(model, {{AxisLabel::QueryHead, 0, {0, 1}}}, "as many in each");  // none of group 1
  expect_refused(model, {{AxisLabel::ValueDim, 0, {0, 1, 2, 4}}}, "as many in each");
}

TEST(Shrink, RefusesTwoCutsOfTheSameDimension) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::string part = "cut by another keep";
  expect_refused(model, {{AxisLabel::KvGroup, 0, {0}}, {AxisLabel::QueryHead, 0, {0, 2}}}, part);
  expect_refused(model, {{AxisLabel::Ffn, 0, {0}}, {AxisLabel::Ffn, 0, {1}}}, part);
  std::vector<Keep> both = half_the_head_channels(2);
  both.push_back({AxisLabel::KvGroup, 1, {1}});
  expect_refused(model, both, part);
  // In different layers they do not meet; nor do the two dimensions of one tensor.
  EXPECT_NO_THROW(shrink(model, {{AxisLabel::KvGroup, 0, {0}},
                                 {AxisLabel::QueryHead, 1, {0, 2}},
                                 {AxisLabel::Hidden, -1, {0, 5, 7}}}));
}

TEST(Shrink, RefusesHeadChannelsThatAreNotCutAlike) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<Keep> good = half_the_head_channels(2);
  EXPECT_EQ(shrink(model, good).config().head_dim, 2);
  for (size_t left_out = 0; left_out < good.size(); ++left_out) {
    std::vector<Keep> keeps = good;
    keeps.erase(keeps.begin() + static_cast<std::ptrdiff_t>(left_out));
    expect_refused(model, keeps, "head_dim would be");
  }
  std::vector<Keep> more_values = good;
  more_values[3].units = {0, 1, 2, 4, 5, 6};
  expect_refused(model, more_values, "layers.1.value_dim");
}

TEST(Shrink, RefusesHeadChannelsThatAreNormalisedTogether) {
  const Model model = tiny_model({.family = "qwen3", .kv_heads = 2});
  expect_refused(model, half_the_head_channels(2), "q_norm", ErrorKind::Unsupported);
}

TEST(Shrink, CutsNothingWhereEverythingIsKept) {
  const Model model = tiny_model({.kv_heads = 2});
  const Model same = shrink(model, {{AxisLabel::RopePair, 0, {0, 1}},
                                    {AxisLabel::KvGroup, 1, {0}},
                                    {AxisLabel::QueryHead, 1, {0, 1, 2, 3}}});
  EXPECT_EQ(same.config().rope_head_dim, 0);
  EXPECT_TRUE(same.config().layers[0].rope_pairs.empty());
  EXPECT_EQ(same.config().layers[1].num_attention_heads, 2);
}

TEST(Shrink, RefusesLayersNamedByTwoKeeps) {
  const Model model = tiny_model({.layers = 3});
  EXPECT_THROW(shrink(model, {{AxisLabel::Layer, -1, {0, 1}}, {AxisLabel::Layer, -1, {1, 2}}}),
               Error);
}

TEST(Shrink, LeavesAnOrdinaryModelThatCanBeShrunkAgain) {
  const Model model = tiny_model({.kv_heads = 2});
  const Model once =
      shrink(model, {{AxisLabel::Ffn, 0, {0, 2, 4, 6}}, {AxisLabel::KvGroup, 1, {1}}});
  EXPECT_EQ(once.config().layers[0].intermediate_size, 4);
  EXPECT_EQ(once.config().layers[1].num_attention_heads, 2);
  EXPECT_EQ(once.config().layers[1].num_key_value_heads, 1);
  const Model twice = shrink(once, {{AxisLabel::Ffn, 0, {1, 3}}});
  const Model direct = shrink(model, {{AxisLabel::Ffn, 0, {2, 6}}, {AxisLabel::KvGroup, 1, {1}}});
  const at::Tensor ids = random_ids(model, 1, 6);
  EXPECT_TRUE(at::equal(logits_of(twice, ids), logits_of(direct, ids)));
}

TEST(Shrink, RemembersTheFirstFrequenciesAndScaleWhenHeadsAreCutTwice) {
  const Model model = tiny_model({.head_dim = 8, .kv_heads = 1});
  const auto cut = [](std::vector<int64_t> pairs, std::vector<int64_t> values) {
    return std::vector<Keep>{{AxisLabel::RopePair, 0, pairs},
                             {AxisLabel::RopePair, 1, pairs},
                             {AxisLabel::ValueDim, 0, values},
                             {AxisLabel::ValueDim, 1, values}};
  };
  const Model once = shrink(model, cut({0, 1, 3}, {0, 1, 3, 5, 6, 7}));
  const Model twice = shrink(once, cut({0, 2}, {1, 2, 4, 5}));
  const Model direct = shrink(model, cut({0, 3}, {1, 3, 6, 7}));
  EXPECT_EQ(twice.config().layers[0].rope_pairs, (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(twice.config().rope_head_dim, 8);
  const at::Tensor ids = random_ids(model, 1, 9);
  EXPECT_TRUE(at::equal(logits_of(twice, ids), logits_of(direct, ids)));
}

TEST(Shrink, NumbersLayersAsInTheOriginalWhereSomeAreDropped) {
  const Model model = tiny_model({.layers = 3});
  const Model at_once =
      shrink(model, {{AxisLabel::Ffn, 2, {1, 4}}, {AxisLabel::Layer, -1, {0, 2}}});
  const Model in_turn =
      shrink(shrink(model, {{AxisLabel::Layer, -1, {0, 2}}}), {{AxisLabel::Ffn, 1, {1, 4}}});
  EXPECT_EQ(at_once.config().layers[1].intermediate_size, 2);
  const at::Tensor ids = random_ids(model, 1, 6);
  EXPECT_TRUE(at::equal(logits_of(at_once, ids), logits_of(in_turn, ids)));
}

TEST(Shrink, GivesTheSameRowsOneByOneAsAllTogether) {
  const Model model = tiny_model({.kv_heads = 2});
  const Model shrunk =
      shrink(model, {{AxisLabel::Hidden, -1, {1, 2, 8, 15}}, {AxisLabel::QueryHead, 0, {1, 2}}});
  const at::Tensor rows = at::tensor({3, 0, 3}, at::kLong);
  for (const TensorInfo& info : shrunk.tensors()) {
    if (info.shape.size() != 2) continue;
    const at::Tensor whole = shrunk.source().read(info);
    EXPECT_EQ(whole.sizes(), info.shape) << info.name;
    EXPECT_TRUE(at::equal(shrunk.source().read_rows(info, 1, 3), whole.narrow(0, 1, 3)))
        << info.name;
    EXPECT_TRUE(at::equal(shrunk.source().select_rows(info, rows), whole.index_select(0, rows)))
        << info.name;
  }
}

TEST(Shrink, KeepsThePrecisionOfTheModel) {
  Model model = tiny_model({});
  model.set_precision(at::kDouble);
  EXPECT_EQ(shrink(model, {{AxisLabel::Ffn, 0, {1}}}).precision(), at::kDouble);
}

// Layers are those of the whole model: 0 goes, 1 keeps a part of its channels and no attention, 3
// no feed-forward part; what is said of dropped parts has no effect.
TEST(Shrink, DropsSubLayersBesideEverythingElse) {
  const Model model = tiny_model({.kv_heads = 2, .layers = 4});
  const std::vector<Keep> keeps = {{AxisLabel::Layer, -1, {1, 2, 3}},
                                   without_sub_layer(model, SubLayer::Attention, {1, 0}),
                                   without_sub_layer(model, SubLayer::FeedForward, {3}),
                                   {AxisLabel::Ffn, 1, {0, 5, 7}},
                                   {AxisLabel::Ffn, 3, {2}},
                                   {AxisLabel::KvGroup, 1, {0}}};
  EXPECT_EQ(keeps[1].units, (std::vector<int64_t>{2, 3}));
  const Model left = shrink(model, keeps);
  const std::vector<LayerShape> meant = {{0, 0, 3}, {4, 2, 12}, {4, 2, 0}};
  EXPECT_EQ(left.config().layers, meant);
  Model silent = silenced(silenced(model, SubLayer::Attention, 1), SubLayer::FeedForward, 3);
  silent = shrink(silent, {{AxisLabel::Layer, -1, {1, 2, 3}}, {AxisLabel::Ffn, 1, {0, 5, 7}}});
  const at::Tensor ids = random_ids(model, 2, 7);
  EXPECT_LT(relative_error(logits_of(left, ids), logits_of(silent, ids)), 1e-6);
  // A second cut counts layers anew; what is gone already may be named again.
  const Model again = shrink(left, {without_sub_layer(left, SubLayer::FeedForward, {1, 2})});
  EXPECT_EQ(again.config().layers, (std::vector<LayerShape>{{0, 0, 3}, {4, 2, 0}, {4, 2, 0}}));
}

TEST(Shrink, RefusesToDropSubLayersThatAreNotThereOrAreTheLast) {
  const Model model = tiny_model({.layers = 3});
  expect_error(ErrorKind::InvalidArgument, "attention_part: the model has no layer 3",
               [&] { without_sub_layer(model, SubLayer::Attention, {3}); });
  const std::vector<Keep> all = {without_sub_layer(model, SubLayer::FeedForward, {0, 1, 2})};
  expect_refused(model, all, "ffn_part: nothing is kept");
  expect_refused(model, {{AxisLabel::AttentionPart, 0, {0}}}, "belongs to the whole model");
  expect_refused(model, {{AxisLabel::FeedForwardPart, -1, {0, 3}}}, "below 3");
  expect_refused(model, {{AxisLabel::AttentionPart, -1, {0}}, {AxisLabel::AttentionPart, -1, {1}}},
                 "two keeps");
  expect_refused(model, {{AxisLabel::AttentionPart, -1, {0}}, {AxisLabel::Layer, -1, {1, 2}}},
                 "no layer that is left would have attention");
}

TEST(Shrink, CutsHeadChannelsWhereThereAreHeads) {
  const Model model = without(tiny_model({.kv_heads = 2}), SubLayer::Attention, 0);
  std::vector<Keep> keeps = half_the_head_channels(2);
  std::erase_if(keeps, [](const Keep& keep) { return keep.layer == 0; });
  const Model left = shrink(model, keeps);
  EXPECT_EQ(left.config().head_dim, 2);
  const Json json = rewrite_config(tiny_config({.kv_heads = 2}), left.config());
  EXPECT_EQ(parse_config(json, "c").layers, left.config().layers);
}

}  // namespace
}  // namespace prunus::test::shrink_test
