#include "prunus/graph/groups.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/graph/shrink.h"

#include "support/tiny_model.h"

namespace prunus::test {
namespace {

std::vector<TinySizes> every_kind() {
  std::vector<TinySizes> kinds;
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    kinds.push_back({.family = family});                 // MHA, untied
    kinds.push_back({.family = family, .kv_heads = 2});  // GQA
    kinds.push_back({.family = family, .kv_heads = 1, .tied = true});
  }
  return kinds;
}

std::vector<int64_t> all_but(int64_t units, int64_t removed) {
  std::vector<int64_t> kept;
  for (int64_t unit = 0; unit < units; ++unit) {
    if (unit != removed) kept.push_back(unit);
  }
  return kept;
}

// The slices of one unit, one by one.
at::Tensor slices_of(const GroupSet& set, const GroupMember& member, int64_t unit) {
  std::vector<int64_t> slices;
  const int64_t per_share = set.units_per_share();
  for (int64_t o = 0; o < member.outer; ++o) {
    for (int64_t i = 0; i < member.inner; ++i) {
      slices.push_back(((unit / per_share * member.outer + o) * per_share + unit % per_share) *
                           member.inner +
                       i);
    }
  }
  return at::tensor(slices, at::kLong);
}

// Sets every slice of one unit to zero in a copy of the weights.
std::shared_ptr<MemorySource> zero_unit(const Model& model, const GroupSet& set, int64_t unit) {
  auto weights = copy_weights(model);
  for (const GroupMember& member : set.members) {
    weights->tensors.at(member.tensor.name)
        .index_fill_(member.dim, slices_of(set, member, unit), 0);
  }
  return weights;
}

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

// docs/design.md section 2.2: the oracle of the whole idea.
TEST(FindGroups, RemovingAGroupEqualsZeroingIt) {
  for (const TinySizes& sizes : every_kind()) {
    const Model model = tiny_model(sizes);
    const at::Tensor ids = random_ids(model, 2, 7);
    for (const GroupSet& set : find_groups(model)) {
      const bool block_wise = set.label == AxisLabel::Ffn || set.label == AxisLabel::KvGroup;
      if (!block_wise || set.units == 1) continue;
      for (int64_t unit = 0; unit < set.units; ++unit) {
        const Model shrunk = shrink(model, {{set.label, set.layer, all_but(set.units, unit)}});
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
      config.rms_norm_eps *= (hidden - 1) / hidden;
      const Model masked(config, weights);
      const Model shrunk = shrink(model, {{set.label, set.layer, all_but(set.units, 3)}});
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

TEST(Shrink, RefusesKeepListsThatMakeNoSense) {
  const Model model = tiny_model({});
  const auto refuse = [&](Keep keep) { EXPECT_THROW(shrink(model, {keep}), Error); };
  refuse({AxisLabel::Ffn, 0, {}});
  refuse({AxisLabel::Ffn, 0, {1, 1}});
  refuse({AxisLabel::Ffn, 0, {2, 1}});
  refuse({AxisLabel::Ffn, 0, {12}});
  refuse({AxisLabel::Ffn, 0, {-1}});
  refuse({AxisLabel::Ffn, 9, {1}});
  refuse({AxisLabel::Vocab, -1, {1}});
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

}  // namespace
}  // namespace prunus::test
