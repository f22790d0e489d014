#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/model/decoder.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::embedding_test {
namespace {

at::Tensor table_of(const Model& model, Role role) {
  return model.source().read(model.tensor(role)).to(at::kFloat);
}

at::Tensor ids_of(const std::vector<int64_t>& ids) {
  return at::tensor(ids, at::kLong).unsqueeze(0);
}

TEST(PlainEmbedding, IsOneWithoutFactorPositionsAndNorm) {
  const auto plain = [](const char* name) {
    return plain_embedding(open_model(golden_dir(name)).config());
  };
  EXPECT_TRUE(plain("llama_mha"));
  EXPECT_FALSE(plain("gemma"));
  EXPECT_FALSE(plain("opt"));
  EXPECT_FALSE(plain("bloom"));
  EXPECT_TRUE(plain("baichuan_13b"));  // ALiBi enters later
}

TEST(Embed, GivesTheRowsOfTheTable) {
  const Model model = tiny_model({});
  const at::Tensor hidden =
      embed(model, at::tensor({4, 0, 28, 4}, at::kLong).view({2, 2}), at::kCPU);
  const at::Tensor table = table_of(model, Role::EmbedTokens);
  ASSERT_EQ(hidden.sizes(), (std::vector<int64_t>{2, 2, 16}));
  EXPECT_TRUE(at::equal(hidden[0][0], table[4]));
  EXPECT_TRUE(at::equal(hidden[1][0], table[28]));
}

TEST(Embed, MultipliesByTheRootOfTheHiddenSize) {
  const Model model = open_model(golden_dir("gemma"));  // 32 channels
  const at::Tensor row = table_of(model, Role::EmbedTokens)[7].to(at::kDouble) * std::sqrt(32.0);
  EXPECT_LT(relative_error(embed(model, ids_of({7}), at::kCPU)[0][0], row), 1e-6);
}

TEST(Embed, AddsTheRowOfThePositionBehindTheFamilysOffset) {
  const Model model = open_model(golden_dir("opt"));  // position 0 is row 2
  const at::Tensor table = table_of(model, Role::EmbedTokens);
  const at::Tensor places = table_of(model, Role::EmbedPositions);
  const at::Tensor hidden = embed(model, ids_of({7, 7, 9}), at::kCPU);
  EXPECT_TRUE(at::allclose(hidden[0][0], table[7] + places[2]));
  EXPECT_TRUE(at::allclose(hidden[0][2], table[9] + places[4]));
  const at::Tensor given = embed(model, ids_of({7, 7, 9}), at::kCPU, ids_of({5, 31, 0}));
  EXPECT_TRUE(at::allclose(given[0][0], table[7] + places[7]));
  EXPECT_TRUE(at::allclose(given[0][1], table[7] + places[33]));  // the last of 32
  EXPECT_TRUE(at::allclose(given[0][2], table[9] + places[2]));
}

TEST(Embed, NormalisesWhatItGivesWhereTheFamilyDoes) {
  const Model model = open_model(golden_dir("bloom"));
  const at::Tensor row = table_of(model, Role::EmbedTokens)[11].to(at::kDouble);
  const at::Tensor gain = table_of(model, Role::EmbedNorm);
  const at::Tensor bias = table_of(model, Role::EmbedNormBias);
  double mean = 0;
  double variance = 0;
  for (int64_t i = 0; i < 24; ++i) mean += row[i].item<double>() / 24;
  for (int64_t i = 0; i < 24; ++i) variance += std::pow(row[i].item<double>() - mean, 2) / 24;
  const at::Tensor wanted = (row - mean) / std::sqrt(variance + 1e-5) * gain + bias;
  EXPECT_LT(relative_error(embed(model, ids_of({11}), at::kCPU)[0][0], wanted), 1e-6);
}

TEST(InputEmbedding, IsWhatEmbedDoesBehindTheRows) {
  for (const char* name : {"gemma", "opt", "bloom"}) {
    const Model model = open_model(golden_dir(name));
    const at::Tensor ids = random_ids(model, 2, 5);
    const at::Tensor rows = at::embedding(table_of(model, Role::EmbedTokens), ids);
    const InputEmbedding end(model, at::kCPU);
    EXPECT_TRUE(at::equal(end.finish(rows), embed(model, ids, at::kCPU))) << name;
  }
}

TEST(Embed, ReadsNoRowThatIsNotUsed) {
  const Model model = tiny_model({});
  const auto weights = copy_weights(model);
  weights->tensors.at("model.embed_tokens.weight")[5][3] = NAN;
  const Model broken(model.config(), weights);
  EXPECT_NO_THROW(embed(broken, ids_of({4, 6}), at::kCPU));
  expect_error(ErrorKind::Corrupt, "model.embed_tokens.weight", [&] {
    embed(broken, ids_of({4, 5}), at::kCPU);
  });
}

TEST(Embed, RefusesIdsAndPositionsThatTheModelDoesNotHave) {
  const Model plain = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "token id -1 is outside the model's vocabulary of 29",
               [&] {
                 embed(plain, ids_of({3, -1}), at::kCPU);
               });
  const Model learned = open_model(golden_dir("opt"));
  EXPECT_NO_THROW(embed(learned, at::zeros({1, 32}, at::kLong), at::kCPU));
  expect_error(ErrorKind::InvalidArgument, "position 32 is outside the model's context of 32", [&] {
    embed(learned, at::zeros({1, 33}, at::kLong), at::kCPU);
  });
  expect_error(ErrorKind::InvalidArgument, "position 40",
               [&] { embed(learned, ids_of({1}), at::kCPU, ids_of({40})); });
}

}  // namespace
}  // namespace prunus::test::embedding_test
