#include "prunus/model/resident_model.h"

#include <ATen/ATen.h>

#include <gmock/gmock.h>

#include "prunus/base/error.h"

#include "support/tiny_model.h"
#include "support/written_down.h"

namespace prunus::test::resident_model_test {
namespace {

TEST(OpenLayers, ReadsTheNextLayerAheadOfEach) {
  const Model plain = tiny_model({.layers = 3});
  const auto source = std::make_shared<WrittenDown>(plain.shared_source());
  const Model model(plain.config(), source);
  const auto blocks = open_layers(model, "test", [&](int layer) {
    source->calls.push_back("open " + std::to_string(layer));
    BlockWeights weights;
    weights[Role::QProj] = at::full({1}, layer);
    return weights;
  });
  EXPECT_THAT(source->calls, testing::ElementsAre("p1", "open 0", "p2", "open 1", "open 2"));
  ASSERT_EQ(blocks.size(), 3u);
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(blocks[static_cast<size_t>(layer)][Role::QProj].item<int>(), layer);
  }
}

TEST(ResidentModel, DecodesABatchAsEachSequenceAlone) {
  for (const bool tied : {false, true}) {
    const Model model = tiny_model({.kv_heads = 2, .tied = tied});
    const ResidentModel resident(model, at::kCPU);
    const at::Tensor ids = random_ids(model, 3, 7);
    std::vector<LayerCache> cache(2);
    resident.next_logits(ids.narrow(1, 0, 5), 0, cache);
    resident.next_logits(ids.narrow(1, 5, 1), 5, cache);
    const at::Tensor last = resident.next_logits(ids.narrow(1, 6, 1), 6, cache);
    EXPECT_LT(relative_error(last, logits_of(model, ids).select(1, 6)), 1e-5);
    EXPECT_THROW(resident.next_logits(at::full({1, 1}, 29, at::kLong), 0, cache), Error);
  }
}

TEST(ResidentModel, DecodesInHalfPrecisionAsItReadsThePrompt) {
  const Model model = tiny_model({.hidden = 64, .head_dim = 16, .kv_heads = 2, .ffn = 96});
  const ResidentModel exact(model, at::kCPU);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const ResidentModel half(model, at::kCPU, type);
    const at::Tensor ids = random_ids(model, 2, 12);
    std::vector<LayerCache> whole(2), stepped(2), wide(2);
    const at::Tensor at_once = half.next_logits(ids, 0, whole);
    at::Tensor last = half.next_logits(ids.narrow(1, 0, 9), 0, stepped);
    for (int64_t place = 9; place < 12; ++place) {
      last = half.next_logits(ids.narrow(1, place, 1), place, stepped);
    }
    const at::Tensor wanted = exact.next_logits(ids, 0, wide);
    EXPECT_LT(relative_error(last, wanted), type == at::kHalf ? 0.01 : 0.08);
    EXPECT_LT(relative_error(at_once, wanted), type == at::kHalf ? 0.01 : 0.08);
    EXPECT_EQ(stepped[0].keys.scalar_type(), type);
  }
}

TEST(ResidentModel, CachesKeysAndValuesInAnotherType) {
  const Model model = tiny_model({.hidden = 64, .head_dim = 16, .kv_heads = 2, .ffn = 96});
  for (const auto& [weights, kept] : {std::pair{at::kFloat, at::kBFloat16},
                                      {at::kFloat, at::kHalf},
                                      {at::kBFloat16, at::kFloat}}) {
    Residence where(weights);
    const ResidentModel plain(model, at::kCPU, where);
    where.kv = kept;
    const ResidentModel other(model, at::kCPU, where);
    const at::Tensor ids = random_ids(model, 2, 14);
    std::vector<LayerCache> one = plain.empty_cache(), two = other.empty_cache();
    // A prompt, more of it, and steps.
    for (const auto& [begin, count] :
         {std::pair{0, 6}, {6, 4}, {10, 1}, {11, 1}, {12, 1}, {13, 1}}) {
      const at::Tensor wanted = plain.next_logits(ids.narrow(1, begin, count), begin, one);
      const at::Tensor got = other.next_logits(ids.narrow(1, begin, count), begin, two);
      EXPECT_LT(relative_error(got, wanted), 0.02) << begin;
    }
    EXPECT_EQ(two[1].keys.scalar_type(), kept);
    EXPECT_EQ(two[1].values.scalar_type(), kept);
    EXPECT_EQ(one[1].keys.scalar_type(), weights);
    EXPECT_EQ(two[1].length(), 14);
  }
}

TEST(ResidentModel, HoldsHalfPrecisionAndComputesNearby) {
  const Model model = tiny_model({.tied = true});
  const ResidentModel exact(model, at::kCPU);
  const ResidentModel half(model, at::kCPU, at::kBFloat16);
  EXPECT_EQ(2 * half.bytes(), exact.bytes());
  EXPECT_EQ(exact.bytes(), 4 * model.parameters());
  const at::Tensor ids = random_ids(model, 2, 7);
  std::vector<LayerCache> one(2), two(2);
  const at::Tensor logits = half.next_logits(ids, 0, one);
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  const double error = relative_error(logits, exact.next_logits(ids, 0, two));
  EXPECT_LT(error, 0.1);
  EXPECT_GT(error, 1e-5);  // it was not FP32
}

}  // namespace
}  // namespace prunus::test::resident_model_test
