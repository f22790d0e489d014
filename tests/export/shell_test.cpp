#include "prunus/export/shell.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/graph/shrink.h"

#include "support/golden_models.h"
#include "support/sub_layers.h"
#include "support/tiny_model.h"

namespace prunus::test::shell_test {
namespace {

constexpr int kLayer = 1;

// The model without the first unit of a set in one layer.
Model cut(const Model& model, AxisLabel label, int layer = kLayer) {
  for (const GroupSet& set : find_groups(model)) {
    if (set.label != label || set.layer != layer) continue;
    std::vector<int64_t> units;
    const int64_t share = set.units_per_share();
    for (int64_t unit = 0; unit < set.units; ++unit) {
      if (unit % share != 0) units.push_back(unit);
    }
    return units.empty() ? model : shrink(model, {{label, layer, units}});
  }
  return model;
}

// FFN channels, and a KV group where that leaves one.
Model uneven(const Model& model) { return cut(cut(model, AxisLabel::Ffn), AxisLabel::KvGroup); }

TEST(Shell, IsTheModelItselfWhereLayersAreEqual) {
  const Model model = tiny_model({});
  const Shell shell = shell_of(model.config());
  EXPECT_TRUE(shell.legal());
  EXPECT_EQ(shell.config.layers, model.config().layers);
}

TEST(Shell, PutsEveryWeightAtItsPlaceAmongZeros) {
  const Model model = tiny_model({.kv_heads = 2});
  const Model small = uneven(model);
  const Shell shell = shell_of(small.config());
  ASSERT_TRUE(shell.legal());
  EXPECT_EQ(shell.config.layers, model.config().layers);
  const Model large = padded(small, shell.config);
  // Of 4 heads in 2 groups the second group is left, and stands first; 4 channels a head.
  const at::Tensor q = large.source().read(large.tensor(Role::QProj, kLayer));
  const at::Tensor o = large.source().read(large.tensor(Role::OProj, kLayer));
  const at::Tensor whole = model.source().read(model.tensor(Role::QProj, kLayer));
  EXPECT_TRUE(at::equal(q.narrow(0, 0, 8), whole.narrow(0, 8, 8)));
  EXPECT_EQ(q.narrow(0, 8, 8).abs().max().item<float>(), 0);
  EXPECT_EQ(o.narrow(1, 8, 8).abs().max().item<float>(), 0);
  const at::Tensor down = large.source().read(large.tensor(Role::DownProj, kLayer));
  EXPECT_EQ(down.select(1, 11).abs().max().item<float>(), 0);
  EXPECT_GT(down.select(1, 10).abs().max().item<float>(), 0);
}

// Twelve heads of one, nine of the other; groups of four and of three.
TEST(Shell, HasTheMostGroupsAndTheMostQueriesInOne) {
  ModelConfig config = tiny_model({}).config();
  config.layers[0] = {.num_attention_heads = 12, .num_key_value_heads = 3, .intermediate_size = 5};
  config.layers[1] = {.num_attention_heads = 9, .num_key_value_heads = 3, .intermediate_size = 7};
  const LayerShape& layer = shell_of(config).config.layers[1];
  EXPECT_EQ(layer.num_attention_heads, 12);
  EXPECT_EQ(layer.num_key_value_heads, 3);
  EXPECT_EQ(layer.intermediate_size, 7);
}

TEST(Shell, GivesHeadsTheirLostChannelsBack) {
  const Model model = tiny_model({.head_dim = 8, .layers = 2});
  const Model small = shrink(
      model,
      {{AxisLabel::RopePair, 0, {0, 2}},
       {AxisLabel::RopePair, 1, {1, 3}},
       {AxisLabel::ValueDim, 0, {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27}},
       {AxisLabel::ValueDim, 1, {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27}}});
  const Shell shell = shell_of(small.config());
  ASSERT_TRUE(shell.legal());
  EXPECT_EQ(shell.config.head_dim, 8);
  const Model large = padded(small, shell.config);
  const at::Tensor ids = random_ids(model, 2, 6);
  EXPECT_LT(relative_error(logits_of(large, ids), logits_of(small, ids)), 1e-5);
  // Pairs 1 and 3 are channels 1, 3, 5 and 7 of a head.
  const at::Tensor k = large.source().read(large.tensor(Role::KProj, 1)).narrow(0, 0, 8);
  const at::Tensor used = k.abs().sum(1).gt(0);
  EXPECT_TRUE(at::equal(used, at::tensor({0, 1, 0, 1, 0, 1, 0, 1}).to(at::kBool)));
}

class GoldenShell : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenShell, ComputesWhatTheUnevenModelDoes) {
  const Model small = uneven(open_model(golden_dir(GetParam())));
  const Shell shell = shell_of(small.config());
  if (!shell.legal()) {
    EXPECT_FALSE(shell.obstacles.front().empty());
    return;
  }
  EXPECT_TRUE(stock_obstacles(shell.config).empty());
  const at::Tensor ids = random_ids(small, 2, 7);
  EXPECT_LT(relative_error(logits_of(padded(small, shell.config), ids), logits_of(small, ids)),
            1e-5);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenShell, ::testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

// A sub-layer of zeros in the place of the one that was dropped; not where its norm would stay.
TEST_P(GoldenShell, MakesUpDroppedSubLayersOfZeros) {
  const Model model = open_model(golden_dir(GetParam()));
  for (const SubLayer part : kSubLayers) {
    const Model small = without(model, part, 0);
    const Shell shell = shell_of(small.config());
    if (!model.config().pre_norm) {
      EXPECT_FALSE(shell.legal());
      continue;
    }
    if (!shell.legal()) {
      EXPECT_EQ(shell.obstacles.front().find("zeros"), std::string::npos) << shell.obstacles[0];
      continue;
    }
    EXPECT_TRUE(stock_obstacles(shell.config).empty());
    const at::Tensor ids = random_ids(small, 2, 7);
    EXPECT_LT(relative_error(logits_of(padded(small, shell.config), ids), logits_of(small, ids)),
              1e-5)
        << name_of(part);
  }
}

TEST(Shell, RefusesWhatZerosCannotSay) {
  const auto first = [](const char* golden, AxisLabel label) {
    const Shell shell = shell_of(cut(open_model(golden_dir(golden)), label, 0).config());
    return shell.legal() ? "" : shell.obstacles.front();
  };
  EXPECT_EQ(first("olmo2", AxisLabel::Ffn), "");
  EXPECT_NE(first("olmo2", AxisLabel::KvGroup).find("over all heads together"), std::string::npos);
  EXPECT_NE(first("bloom", AxisLabel::KvGroup).find("ALiBi"), std::string::npos);
  EXPECT_NE(first("mixtral", AxisLabel::Expert).find("numbers of experts"), std::string::npos);
}

}  // namespace
}  // namespace prunus::test::shell_test
