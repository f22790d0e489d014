#include "prunus/model/decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/model/positions.h"

#include "support/tiny_model.h"

namespace prunus::test::decoder_test {
namespace {

TEST(Decoder, GivesTheSameHiddenStatesTokenByTokenWithACache) {
  const at::NoGradGuard no_grad;
  Model model = tiny_model({.family = "mistral", .kv_heads = 2});
  const Decoder decoder(model.config());
  const BlockWeights weights = model.load_block(0, at::kCPU);
  const at::Tensor hidden = embed(model, random_ids(model, 1, 9), at::kCPU);
  const at::Tensor whole = decoder.block(0, weights, hidden);
  LayerCache cache;
  std::vector<at::Tensor> parts{decoder.block(0, weights, hidden.narrow(1, 0, 4), nullptr, &cache)};
  for (int64_t i = 4; i < 9; ++i) {
    parts.push_back(decoder.block(0, weights, hidden.narrow(1, i, 1), nullptr, &cache, i));
  }
  EXPECT_LT(relative_error(at::cat(parts, 1), whole), 1e-5);
}

TEST(Decoder, SeesNoTokenAfterTheOwn) {
  Model model = tiny_model({});
  at::Tensor ids = random_ids(model, 1, 8);
  const at::Tensor before = logits_of(model, ids).narrow(1, 0, 5);
  ids = ids.clone();
  ids[0][6] = (ids[0][6].item<int64_t>() + 1) % model.config().vocab_size;
  EXPECT_TRUE(at::allclose(before, logits_of(model, ids).narrow(1, 0, 5)));
}

TEST(Embed, NamesAnIdOutsideTheVocabulary) {
  Model model = tiny_model({});
  try {
    embed(model, at::full({1, 2}, 29, at::kLong), at::kCPU);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_NE(std::string(error.what()).find("token id 29"), std::string::npos);
  }
}

TEST(RopeFrequencies, FollowThetaToTheMinusTwoIOverD) {
  ModelConfig config;
  config.head_dim = 4;
  config.rope.theta = 10000;
  const at::Tensor frequencies = rope_frequencies(config);
  EXPECT_FLOAT_EQ(frequencies[0].item<float>(), 1.0f);
  EXPECT_FLOAT_EQ(frequencies[1].item<float>(), 0.01f);  // 10000^(−2/4)
}

}  // namespace
}  // namespace prunus::test::decoder_test
