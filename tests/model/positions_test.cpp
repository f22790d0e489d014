#include "prunus/model/positions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/tiny_model.h"

namespace prunus::test::positions_test {
namespace {

using Shape = std::vector<int64_t>;

// Heads of `head_dim` channels; theta 10000 unless a test says otherwise.
ModelConfig heads_of(int64_t head_dim, Rope::Kind kind = Rope::Kind::Default, double factor = 1) {
  ModelConfig config;
  config.head_dim = head_dim;
  config.rope.kind = kind;
  config.rope.factor = factor;
  return config;
}

// Of 16 channels: the waves of pair i are 2π·10^(i/2) tokens long.
double plain_frequency(int64_t pair) { return std::pow(10.0, -static_cast<double>(pair) / 2); }

void expect_frequencies(const at::Tensor& got, const std::vector<double>& wanted) {
  ASSERT_EQ(got.sizes(), Shape{static_cast<int64_t>(wanted.size())});
  EXPECT_EQ(got.scalar_type(), at::kFloat);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double value = got[static_cast<int64_t>(i)].item<double>();
    EXPECT_NEAR(value, wanted[i], 1e-6 * wanted[i]) << "pair " << i;
  }
}

TEST(RopeFrequencies, AreDividedByTheFactorUnderLinearScaling) {
  std::vector<double> wanted;
  for (int64_t i = 0; i < 8; ++i) wanted.push_back(plain_frequency(i) / 4);
  expect_frequencies(rope_frequencies(heads_of(16, Rope::Kind::Linear, 4)), wanted);
}

// Of the 8 wavelengths 6.3 … 19869, those below 8192/4 stay, those above 8192/1 are stretched.
TEST(RopeFrequencies, FollowTheWavelengthBandsOfLlama3) {
  ModelConfig config = heads_of(16, Rope::Kind::Llama3, 8);
  config.rope.original_max_position_embeddings = 8192;
  std::vector<double> wanted;
  for (int64_t i = 0; i < 8; ++i) {
    const double wavelength = 2 * std::numbers::pi / plain_frequency(i);
    const double smooth = (8192 / wavelength - 1) / (4 - 1);
    wanted.push_back(wavelength < 8192.0 / 4 ? plain_frequency(i)
                     : wavelength > 8192.0 / 1
                         ? plain_frequency(i) / 8
                         : (1 - smooth) * plain_frequency(i) / 8 + smooth * plain_frequency(i));
  }
  EXPECT_EQ(wanted[5], plain_frequency(5));
  EXPECT_EQ(wanted[7], plain_frequency(7) / 8);
  expect_frequencies(rope_frequencies(config), wanted);
}

// With d channels and r = factor·length/context − (factor − 1), theta·r^(d/(d−2)) divides the
// frequency of pair i by r^(2i/(d−2)): of the last pair by r.
TEST(RopeFrequencies, SlowDownUnderDynamicScalingOnceTheContextIsFull) {
  ModelConfig config = heads_of(16, Rope::Kind::Dynamic, 2);
  config.rope.original_max_position_embeddings = 16;
  std::vector<double> plain;
  std::vector<double> halved;  // r = 2·24/16 − 1 = 2
  for (int64_t i = 0; i < 8; ++i) {
    plain.push_back(plain_frequency(i));
    halved.push_back(plain_frequency(i) / std::pow(2.0, static_cast<double>(i) / 7));
  }
  expect_frequencies(rope_frequencies(config, 0, 3), plain);
  expect_frequencies(rope_frequencies(config, 0, 16), plain);
  expect_frequencies(rope_frequencies(config, 0, 24), halved);
}

// The (fractional) pair of 16 channels whose wave turns so often within the context.
double pair_that_turns(double turns, double context) {
  double low = -50;
  double high = 50;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    const double frequency = std::pow(10000.0, -2 * middle / 16);
    (context * frequency / (2 * std::numbers::pi) > turns ? low : high) = middle;
  }
  return low;
}

TEST(LongestSequence, GrowsByTheFactorUnderDynamicScalingAlone) {
  for (const auto& [kind, longest] :
       {std::pair(Rope::Kind::Default, 100), {Rope::Kind::Yarn, 100}, {Rope::Kind::Dynamic, 250}}) {
    ModelConfig config = heads_of(16, kind, 2.5);
    config.max_position_embeddings = 100;
    EXPECT_EQ(longest_sequence(config), longest);
  }
}

TEST(RopeFrequencies, RampBetweenTwoPairsUnderYarn) {
  ModelConfig config = heads_of(16, Rope::Kind::Yarn, 4);
  config.rope.original_max_position_embeddings = 4096;
  const double first = pair_that_turns(32, 4096);  // 2.6
  const double last = pair_that_turns(1, 4096);    // 5.6
  // Whole pairs: the ramp runs from 2 to 6, 1 − ¼·¾ = 0.8125 …
  const double kept[] = {1, 1, 1, 0.8125, 0.625, 0.4375, 0.25, 0.25};
  std::vector<double> truncated;
  std::vector<double> exact;
  for (int64_t i = 0; i < 8; ++i) {
    truncated.push_back(plain_frequency(i) * kept[i]);
    const double ramp = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
    exact.push_back(plain_frequency(i) * (1 - ramp) + plain_frequency(i) / 4 * ramp);
  }
  expect_frequencies(rope_frequencies(config), truncated);
  config.rope.truncate = false;
  expect_frequencies(rope_frequencies(config), exact);
}

TEST(RopeFrequencies, TakeTheLongFactorsBeyondTheOriginalLength) {
  ModelConfig config = heads_of(4, Rope::Kind::Longrope);
  config.rope.original_max_position_embeddings = 16;
  config.rope.short_factor = {1, 2};
  config.rope.long_factor = {4, 5};
  expect_frequencies(rope_frequencies(config, 0, 16), {1, 0.01 / 2});
  expect_frequencies(rope_frequencies(config, 0, 17), {1.0 / 4, 0.01 / 5});
}

TEST(RopeFrequencies, StayThoseOfTheRotatedChannelsAndOfTheUncutHead) {
  ModelConfig partial = heads_of(8);
  partial.rotary_dim = 4;
  expect_frequencies(rope_frequencies(partial), {1, 0.01});  // 10000^(−2/4)
  ModelConfig cut = heads_of(4);
  cut.rope_head_dim = 8;
  cut.layers = {{.rope_pairs = {0, 2}}, {.rope_pairs = {1, 3}}};
  expect_frequencies(rope_frequencies(cut, 0), {1, 0.01});
  expect_frequencies(rope_frequencies(cut, 1), {0.1, 0.001});
}

TEST(RopeFrequencies, HaveAnotherBaseInWindowedLayersWhereTheFamilyHas) {
  Json json = tiny_config({.family = "gemma3_text"});
  json["sliding_window"] = 8;
  json["sliding_window_pattern"] = 2;
  json["rope_local_base_freq"] = 100.0;
  const ModelConfig config = parse_config(json, "c");
  expect_frequencies(rope_frequencies(config, 0), {1, 0.1});
  expect_frequencies(rope_frequencies(config, 1), {1, 0.01});
}

TEST(RotationOf, TurnsEachPlaceByItsOwnAngleTimesTheAttentionFactor) {
  ModelConfig config = heads_of(4);
  config.rope.attention_factor = 1.5;
  const at::Tensor places = at::tensor({0, 3, 7, 2}, at::kLong);
  const Rotation one = rotation_of(config, 0, places, 8, at::kDouble);
  ASSERT_EQ(one.cos.sizes(), (Shape{4, 2}));
  EXPECT_EQ(one.cos.scalar_type(), at::kDouble);
  EXPECT_NEAR(one.cos[2][0].item<double>(), 1.5 * std::cos(7.0), 1e-7);
  EXPECT_NEAR(one.sin[2][1].item<double>(), 1.5 * std::sin(0.07), 1e-7);
  const Rotation rows = rotation_of(config, 0, places.view({2, 1, 2}), 8, at::kDouble);
  ASSERT_EQ(rows.sin.sizes(), (Shape{2, 1, 2, 2}));
  EXPECT_TRUE(at::equal(rows.sin[1][0][0], one.sin[2]));
}

// A quarter turn of the first pair, half a turn of the second.
TEST(Rotate, TurnsHalvesOrNeighboursAndLeavesTheRest) {
  const at::Tensor cos = at::tensor({0.0f, -1.0f}).view({1, 2});
  const at::Tensor sin = at::tensor({1.0f, 0.0f}).view({1, 2});
  const auto turned = [&](const std::vector<float>& head, bool neighbours) {
    const at::Tensor x = at::tensor(head).view({1, 1, 1, -1});
    const at::Tensor y = rotate(x, cos, sin, neighbours).flatten();
    return std::vector<float>(y.data_ptr<float>(), y.data_ptr<float>() + y.numel());
  };
  EXPECT_EQ(turned({1, 2, 3, 4}, false), (std::vector<float>{-3, -2, 1, -4}));
  EXPECT_EQ(turned({1, 2, 3, 4}, true), (std::vector<float>{-2, 1, -3, -4}));
  EXPECT_EQ(turned({1, 2, 3, 4, 5, 6}, false), (std::vector<float>{-3, -2, 1, -4, 5, 6}));
  EXPECT_EQ(turned({1, 2, 3, 4, 5, 6}, true), (std::vector<float>{-2, 1, -3, -4, 5, 6}));
}

// Both ways of working it out, for heads with channels beyond the turned ones, rows that differ and
// a place alone.
TEST(Rotate, IsTheSameInOnePassAndWithGradients) {
  at::manual_seed(3);
  for (const int64_t pairs : {1, 3, 4, 8, 13}) {
    for (const int64_t batch : {1, 2}) {
      for (const int64_t seq : {1, 70}) {
        const at::Tensor x = at::randn({batch, seq, 3, 2 * pairs + 5}).transpose(1, 2);
        const at::Tensor angles =
            batch == 1 ? at::randn({seq, pairs}) : at::randn({batch, 1, seq, pairs});
        const at::Tensor got = rotate(x, angles.cos(), angles.sin(), false);
        const at::Tensor trained = x.detach().requires_grad_(true);
        const at::Tensor wanted = rotate(trained, angles.cos(), angles.sin(), false);
        ASSERT_TRUE(wanted.requires_grad());
        EXPECT_EQ(got.sizes(), x.sizes());
        EXPECT_LT((got - wanted).abs().max().item<double>(), 1e-6) << pairs << ", " << seq;
      }
    }
  }
}

TEST(AlibiSlopes, HalveFromHeadToHeadAndFillUpFromTwiceAsMany) {
  const at::Tensor eight = alibi_slopes(8);
  const at::Tensor twelve = alibi_slopes(12);
  for (int64_t head = 0; head < 8; ++head) {
    const double slope = 1.0 / static_cast<double>(2 << head);  // 1/2 … 1/256
    EXPECT_FLOAT_EQ(eight[head].item<float>(), static_cast<float>(slope));
    EXPECT_FLOAT_EQ(twelve[head].item<float>(), static_cast<float>(slope));
  }
  ASSERT_EQ(twelve.sizes(), Shape{12});
  // Of sixteen heads the first, third, fifth and seventh: 2^−½ · ½^i.
  for (int64_t i = 0; i < 4; ++i) {
    const double slope = std::numbers::sqrt2 / 2 / static_cast<double>(1 << i);
    EXPECT_FLOAT_EQ(twelve[8 + i].item<float>(), static_cast<float>(slope));
  }
}

TEST(AlibiBias, FallsWithTheDistanceByTheSlopesOfTheHeadsThatAreLeft) {
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  ModelConfig config;
  config.alibi_heads = 4;  // slopes 1/4, 1/16, 1/64, 1/256
  const LayerShape all{.num_attention_heads = 4};
  const LayerShape two{.num_attention_heads = 2, .alibi_heads = {0, 2}};
  const at::Tensor queries = at::tensor({1, 2, 5, 6}, at::kLong).view({2, 2});
  const at::Tensor keys = at::tensor({0, 1, 2}, at::kLong);
  const at::Tensor visible = keys.view({1, 1, 1, 3}) <= queries.view({2, 1, 2, 1});
  const at::Tensor bias = alibi_bias(config, two, queries, keys, visible);
  const at::Tensor wanted =
      at::tensor({-1 / 4.0f,  0.0f,       kHidden,    -2 / 4.0f,  -1 / 4.0f,  0.0f,  //
                  -1 / 64.0f, 0.0f,       kHidden,    -2 / 64.0f, -1 / 64.0f, 0.0f,
                  -5 / 4.0f,  -4 / 4.0f,  -3 / 4.0f,   //
                  -6 / 4.0f,  -5 / 4.0f,  -4 / 4.0f,   //
                  -5 / 64.0f, -4 / 64.0f, -3 / 64.0f,  //
                  -6 / 64.0f, -5 / 64.0f, -4 / 64.0f});
  EXPECT_TRUE(at::equal(bias, wanted.view({2, 2, 2, 3}))) << bias;
  const at::Tensor whole = alibi_bias(config, all, queries, keys, visible);
  ASSERT_EQ(whole.sizes(), (Shape{2, 4, 2, 3}));
  EXPECT_EQ(whole[1][3][1][0].item<float>(), -6 / 256.0f);
}

bool same_memory(const Rotation& a, const Rotation& b) {
  return a.cos.is_same(b.cos) && a.sin.is_same(b.sin);
}

// Gemma 3's two kinds of layers turn by two bases; layers 0 and 2 are windowed, 1 and 3 not.
ModelConfig two_kinds() {
  ModelConfig config = tiny_model({.family = "gemma3_text", .layers = 4}).config();
  config.local_rope = config.rope;
  config.local_rope.theta = config.rope.theta / 7;
  for (size_t layer = 0; layer < 4; ++layer) {
    config.layers[layer].sliding_window = std::nullopt;
    if (layer % 2 == 0) config.layers[layer].sliding_window = 4;
  }
  return config;
}

TEST(RotationCache, ComputesAnglesOnceForEachKindOfLayer) {
  const ModelConfig config = two_kinds();
  RotationCache cache;
  const auto of = [&](int layer) { return cache.of_run(config, layer, 3, 8, at::kFloat); };
  EXPECT_TRUE(same_memory(of(0), of(2)));
  EXPECT_TRUE(same_memory(of(1), of(3)));
  EXPECT_FALSE(same_memory(of(0), of(1)));
  for (int layer = 0; layer < 4; ++layer) {
    const Rotation alone = rotation_of(config, layer, at::arange(3, 8, at::kLong), 8, at::kFloat);
    EXPECT_TRUE(at::equal(of(layer).cos, alone.cos)) << layer;
    EXPECT_TRUE(at::equal(of(layer).sin, alone.sin)) << layer;
  }
}

TEST(RotationCache, TellsPassesTypesAndCutLayersApart) {
  ModelConfig config = two_kinds();
  RotationCache cache;
  const Rotation first = cache.of_run(config, 1, 0, 8, at::kFloat);
  EXPECT_FALSE(same_memory(cache.of_run(config, 1, 1, 8, at::kFloat), first));
  EXPECT_EQ(cache.of_run(config, 1, 0, 8, at::kDouble).cos.scalar_type(), at::kDouble);
  const at::Tensor places = at::arange(8, at::kLong).view({1, 8});
  EXPECT_EQ(cache.of_places(config, 1, places, 8, at::kFloat).cos.sizes(),
            (Shape{1, 1, 8, config.head_dim / 2}));
  config.layers[3].rope_pairs = {1, 0};
  EXPECT_FALSE(same_memory(cache.of_run(config, 3, 0, 8, at::kFloat),
                           cache.of_run(config, 1, 0, 8, at::kFloat)));
}

}  // namespace
}  // namespace prunus::test::positions_test
