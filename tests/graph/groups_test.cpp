#include "prunus/graph/groups.h"

#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/graph/shrink.h"

#include "graph/fixture.h"

namespace prunus::test::groups_test {
namespace {

TEST(FindGroups, FindsHeadsChannelsAndTheHiddenDimension) {
  const std::vector<GroupSet> sets = find_groups(tiny_model({.kv_heads = 2}));
  std::vector<std::string> names;
  for (const GroupSet& set : sets) names.push_back(set.name());
  EXPECT_EQ(names,
            (std::vector<std::string>{"vocab", "hidden", "layers.0.kv_group", "layers.0.query_head",
                                      "layers.0.rope_pair", "layers.0.value_dim", "layers.0.ffn",
                                      "layers.1.kv_group", "layers.1.query_head",
                                      "layers.1.rope_pair", "layers.1.value_dim", "layers.1.ffn"}));
  const GroupSet& heads = sets[2];
  EXPECT_EQ(heads.units, 2);
  ASSERT_EQ(heads.members.size(), 4u);
  EXPECT_EQ(heads.members[0].slices_per_unit(), 8);  // q rows: two heads of four channels
  EXPECT_EQ(heads.members[1].slices_per_unit(), 4);  // k rows: one head
  // 8·16 (q) + 4·16 (k) + 4·16 (v) + 16·8 (o)
  EXPECT_EQ(heads.parameters_per_unit(), 384);
  // Embedding, head, final norm; per layer two norms and seven matrices.
  EXPECT_EQ(sets[1].members.size(), 3u + 2 * 9);
}

TEST(PartSets, AreTheLayersThatHaveThePart) {
  ModelConfig config = tiny_model({.layers = 3}).config();
  config.layers[1].drop(SubLayer::Attention);
  const Model model(config, tiny_model({.layers = 3}).shared_source());
  const std::vector<GroupSet> sets = part_sets(model);
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets[0].name(), "attention_part");
  EXPECT_EQ(sets[0].units, 2);
  EXPECT_EQ(sets[0].parameters_per_unit(), 4 * 16 * 16 + 16);  // q, k, v, o and the norm
  EXPECT_EQ(sets[1].name(), "ffn_part");
  EXPECT_EQ(sets[1].units, 3);
  EXPECT_EQ(sets[1].parameters_per_unit(), 3 * 12 * 16 + 16);
  EXPECT_EQ(layers_with(model, SubLayer::Attention), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(sub_layer_of(AxisLabel::Layer), std::nullopt);
}

// docs/design.md section 2.2: the oracle of the whole idea.
TEST(FindGroups, RemovingAGroupEqualsZeroingIt) {
  for (const TinySizes& sizes : every_kind()) {
    const Model model = tiny_model(sizes);
    const at::Tensor ids = random_ids(model, 2, 7);
    for (const GroupSet& set : find_groups(model)) {
      const bool block_wise = set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup;
      if (!block_wise || set.units == 1) continue;
      for (int64_t unit = 0; unit < set.units; ++unit) {
        const Model shrunk = shrink(model, {{set.label, set.layer, all_but(set.units, {unit})}});
        const Model masked(model.config(), zero_unit(model, set, unit));
        EXPECT_LT(relative_error(logits_of(shrunk, ids), logits_of(masked, ids)), 1e-5)
            << sizes.family << " " << set.name() << " unit " << unit;
        EXPECT_EQ(model.parameters() - shrunk.parameters(), set.parameters_per_unit());
      }
    }
  }
}

// RMSNorm divides by the number of channels, so removing one of H scales what is left by
// √((H − 1)/H) against zeroing it (and eps likewise); the norms' gains make up for it.
TEST(FindGroups, RemovingAHiddenChannelEqualsZeroingItUpToTheNormsMean) {
  for (const TinySizes& sizes : every_kind()) {
    const Model model = tiny_model(sizes);
    const at::Tensor ids = random_ids(model, 1, 6);
    for (const GroupSet& set : find_groups(model)) {
      if (set.label != AxisLabel::Hidden) continue;
      const auto hidden = static_cast<double>(set.units);
      const auto weights = zero_unit(model, set, 3);
      for (auto& [name, tensor] : weights->tensors) {
        const bool over_hidden =
            name.find("layernorm") != std::string::npos || name == "model.norm.weight";
        if (over_hidden) tensor.mul_(std::sqrt((hidden - 1) / hidden));
      }
      ModelConfig config = model.config();
      config.norm_eps *= (hidden - 1) / hidden;
      const Model masked(config, weights);
      const Model shrunk = shrink(model, {{set.label, set.layer, all_but(set.units, {3})}});
      EXPECT_LT(relative_error(logits_of(shrunk, ids), logits_of(masked, ids)), 2e-5)
          << sizes.family;
    }
  }
}

TEST(FindGroups, EveryMemberCarriesWeightAndNoSliceIsForgotten) {
  // Putting one member's slices back changes nothing: the others alone make the unit inert. And a
  // slice outside the unit is not touched: zeroing the unit twice is zeroing it once.
  const Model model = tiny_model({.kv_heads = 2});
  const at::Tensor ids = random_ids(model, 1, 6);
  for (const GroupSet& set : find_groups(model)) {
    if (set.label != AxisLabel::Ffn) continue;
    const at::Tensor masked = logits_of(Model(model.config(), zero_unit(model, set, 1)), ids);
    const auto weights = zero_unit(model, set, 1);
    weights->tensors.at(set.members[0].tensor.name) =
        model.source().read(set.members[0].tensor).clone();
    EXPECT_LT(relative_error(logits_of(Model(model.config(), weights), ids), masked), 1e-6);
    EXPECT_GT(relative_error(logits_of(model, ids), masked), 1e-4);
  }
}

// Layer by layer: what the masks of the coupled-set tests below are made from, by hand.
TEST(FindGroups, KnowsWhichSlicesOfWhichTensorAUnitHas) {
  const Model model = tiny_model({.family = "qwen2", .kv_heads = 2});  // heads of four channels
  using Slices = std::map<std::string, std::vector<int64_t>>;
  const auto unit_of = [&](AxisLabel label, int64_t unit) {
    Slices slices;
    for (const GroupSet& set : find_groups(model)) {
      if (set.label != label || set.layer != 1) continue;
      for (const GroupMember& member : set.members) {
        const std::string name = member.tensor.name.substr(std::string("model.layers.1.").size());
        slices[name + (member.dim == 0 ? "" : " columns")] = slices_of(set, member, unit);
      }
    }
    return slices;
  };
  // Query head 1 of KV group 1 is head 3 of the model.
  EXPECT_EQ(unit_of(AxisLabel::QueryHead, 3),
            (Slices{{"self_attn.q_proj.weight", {12, 13, 14, 15}},
                    {"self_attn.q_proj.bias", {12, 13, 14, 15}},
                    {"self_attn.o_proj.weight columns", {12, 13, 14, 15}}}));
  // Pair 1 is channels 1 and 3 of each of four query heads and two key heads.
  EXPECT_EQ(unit_of(AxisLabel::RopePair, 1),
            (Slices{{"self_attn.q_proj.weight", {1, 3, 5, 7, 9, 11, 13, 15}},
                    {"self_attn.q_proj.bias", {1, 3, 5, 7, 9, 11, 13, 15}},
                    {"self_attn.k_proj.weight", {1, 3, 5, 7}},
                    {"self_attn.k_proj.bias", {1, 3, 5, 7}}}));
  // Unit 6 is channel 2 of value head 1, which query heads 2 and 3 read.
  EXPECT_EQ(unit_of(AxisLabel::ValueDim, 6),
            (Slices{{"self_attn.v_proj.weight", {6}},
                    {"self_attn.v_proj.bias", {6}},
                    {"self_attn.o_proj.weight columns", {10, 14}}}));
}

// As many query heads from each KV group, another one in each; their keys and values stay.
TEST(FindGroups, RemovingQueryHeadsEqualsZeroingTheirOutput) {
  for (const TinySizes& sizes : every_kind()) {
    const int64_t times = sizes.q_heads / sizes.kv_heads;
    if (times == 1) continue;
    const Model model = tiny_model(sizes);
    const at::Tensor ids = random_ids(model, 2, 7);
    for (int64_t shift = 0; shift < times; ++shift) {
      std::vector<int64_t> heads;
      std::vector<int64_t> columns;
      for (int64_t group = 0; group < sizes.kv_heads; ++group) {
        heads.push_back(group * times + (group + shift) % times);
        for (int64_t c = 0; c < sizes.head_dim; ++c) {
          columns.push_back(heads.back() * sizes.head_dim + c);
        }
      }
      const auto weights = copy_weights(model);
      zero(*weights, in_layer(1, "self_attn.o_proj.weight"), 1, columns);
      const Model shrunk =
          shrink(model, {{AxisLabel::QueryHead, 1, all_but(sizes.q_heads, heads)}});
      EXPECT_EQ(shrunk.config().layers[1].num_attention_heads, sizes.q_heads - sizes.kv_heads);
      EXPECT_EQ(shrunk.config().layers[1].num_key_value_heads, sizes.kv_heads);
      EXPECT_LT(relative_error(logits_of(shrunk, ids), logits_of({model.config(), weights}, ids)),
                1e-5)
          << describe(sizes) << ", shift " << shift;
    }
  }
}

// head_dim is one number, so pairs and value channels go together: another choice in each layer
// and, of values, in each head. The scores keep the scale 1/√8, the pairs their own frequencies.
TEST(FindGroups, RemovingHeadChannelsEqualsZeroingThem) {
  for (TinySizes sizes : every_kind()) {
    if (sizes.family == "qwen3") continue;  // normalises over head_dim
    sizes.head_dim = 8;
    const Model model = tiny_model(sizes);
    const at::Tensor ids = random_ids(model, 2, 9);
    const auto weights = copy_weights(model);
    std::vector<Keep> keeps;
    const std::vector<int64_t> pairs[] = {{0, 2}, {1, 3}};
    for (int layer = 0; layer < 2; ++layer) {
      keeps.push_back({AxisLabel::RopePair, layer, all_but(4, pairs[layer])});
      std::vector<int64_t> queries;
      for (int64_t head = 0; head < sizes.q_heads; ++head) {
        for (const int64_t pair : pairs[layer]) {
          queries.push_back(head * 8 + pair);
          queries.push_back(head * 8 + 4 + pair);
        }
      }
      std::vector<int64_t> keys = queries;
      keys.resize(static_cast<size_t>(sizes.kv_heads * 4));  // key heads are laid out alike
      zero_rows(*weights, in_layer(layer, "self_attn.q_proj"), queries);
      zero_rows(*weights, in_layer(layer, "self_attn.k_proj"), keys);
      std::vector<int64_t> values;
      std::vector<int64_t> columns;
      const int64_t times = sizes.q_heads / sizes.kv_heads;
      for (int64_t head = 0; head < sizes.kv_heads; ++head) {
        for (int64_t c = 0; c < 4; ++c) {
          const int64_t channel = (2 * c + head + layer) % 8;
          values.push_back(head * 8 + channel);
          for (int64_t query = head * times; query < (head + 1) * times; ++query) {
            columns.push_back(query * 8 + channel);
          }
        }
      }
      keeps.push_back({AxisLabel::ValueDim, layer, all_but(sizes.kv_heads * 8, values)});
      zero_rows(*weights, in_layer(layer, "self_attn.v_proj"), values);
      zero(*weights, in_layer(layer, "self_attn.o_proj.weight"), 1, columns);
    }
    const Model shrunk = shrink(model, keeps);
    EXPECT_EQ(shrunk.config().head_dim, 4);
    EXPECT_EQ(shrunk.config().rope_head_dim, 8);
    EXPECT_EQ(shrunk.config().layers[1].rope_pairs, (std::vector<int64_t>{0, 2}));
    EXPECT_LT(relative_error(logits_of(shrunk, ids), logits_of({model.config(), weights}, ids)),
              1e-5)
        << describe(sizes);
  }
}

// A layer whose two outputs are zero passes the residual stream on unchanged.
TEST(FindGroups, DroppingLayersEqualsRunningWithoutThem) {
  for (TinySizes sizes : every_kind()) {
    sizes.layers = 5;
    const Model whole = tiny_model(sizes);
    ModelConfig config = whole.config();
    config.layers[3].sliding_window = 2;  // must stay with its layer
    config.layers[4].sliding_window = 4;
    const Model model(config, whole.shared_source());
    const at::Tensor ids = random_ids(model, 2, 7);
    const std::vector<std::vector<int64_t>> choices = {{1, 3}, {0}, {4}, {0, 1, 2, 4}};
    for (const std::vector<int64_t>& dropped : choices) {
      const auto weights = copy_weights(model);
      for (const int64_t layer : dropped) {
        weights->tensors.at(in_layer(layer, "self_attn.o_proj.weight")).zero_();
        weights->tensors.at(in_layer(layer, "mlp.down_proj.weight")).zero_();
      }
      const Model shrunk = shrink(model, {{AxisLabel::Layer, -1, all_but(5, dropped)}});
      EXPECT_EQ(shrunk.layer_count(), 5 - static_cast<int64_t>(dropped.size()));
      EXPECT_TRUE(at::equal(logits_of(shrunk, ids), logits_of({config, weights}, ids)))
          << describe(sizes);
    }
  }
}

}  // namespace
}  // namespace prunus::test::groups_test
