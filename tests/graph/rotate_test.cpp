// A turned residual stream against the stream as it was, and against one that is projected.
#include "prunus/graph/rotate.h"

#include <cmath>
#include <memory>
#include <set>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::rotate_test {
namespace {

// Symmetric, positive, FP64.
at::Tensor some_moments(int64_t channels) {
  at::Generator generator = at::detail::createCPUGenerator(7);
  const at::Tensor x = at::randn({2 * channels, channels}, generator, at::kDouble);
  return at::mm(x.t(), x);
}

bool is_rotatable(const Model& model) {
  try {
    check_rotatable(model);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
    return false;
  }
}

StreamBasis basis_of(const Model& model, int64_t size) {
  return stream_basis(some_moments(model.config().hidden_size), size, model.config().family->norm);
}

// The dense model, of the same width, all that writes into its stream projected by `inside`
// [hidden_size, hidden_size], FP64.
Model projected(const Model& model, const at::Tensor& inside) {
  ModelConfig config = model.config();
  config.tie_word_embeddings = false;
  auto source = std::make_shared<MemorySource>();
  Model result(config, source);
  for (const TensorInfo& tensor : result.tensors()) {
    const Role role = tensor.spec->role;
    const at::Tensor weight = model.source().read(model.tensor(role, tensor.layer)).to(at::kDouble);
    at::Tensor& value = source->tensors[tensor.name];
    value = weight;
    if (role == Role::EmbedTokens || role == Role::EmbedPositions) value = at::mm(weight, inside);
    if (role == Role::OProj || role == Role::DownProj || role == Role::SharedDownProj) {
      value = at::mm(inside, weight);
    }
    if (role == Role::OBias || role == Role::DownBias) value = at::mv(inside, weight);
  }
  result.set_precision(at::kDouble);
  return result;
}

double error_against(const Model& got, const Model& want) {
  const at::Tensor ids = random_ids(got, 2, 9);
  return relative_error(logits_of(got, ids).to(at::kDouble), logits_of(want, ids).to(at::kDouble));
}

TEST(StreamBasis, HoldsTheLargestDirectionsFirst) {
  at::Tensor moments = at::zeros({3, 3}, at::kDouble);
  moments[0][0] = 1.0;
  moments[1][1] = 6.0;
  moments[2][2] = 3.0;
  const StreamBasis two = stream_basis(moments, 2, NormKind::Rms);
  const at::Tensor want = at::tensor({0.0, 0.0, 1.0, 0.0, 0.0, 1.0}, at::kDouble).view({3, 2});
  EXPECT_TRUE(at::allclose(two.vectors.abs(), want));
  EXPECT_NEAR(two.energy, 0.9, 1e-12);
}

TEST(StreamBasis, IsOrthonormal) {
  const at::Tensor v = stream_basis(some_moments(12), 7, NormKind::Rms).vectors;
  EXPECT_TRUE(at::allclose(at::mm(v.t(), v), at::eye(7, at::kDouble), 0, 1e-12));
}

// One direction less, across the ones on either side.
TEST(StreamBasis, LeavesTheMeanOutWhereNormsSubtractIt) {
  const at::Tensor v = stream_basis(some_moments(12), 7, NormKind::Layer).vectors;
  EXPECT_LT(v.sum(0).abs().max().item<double>(), 1e-12);
  EXPECT_LT(v.sum(1).abs().max().item<double>(), 1e-12);
  const at::Tensor square = at::mm(v.t(), v);
  EXPECT_TRUE(at::allclose(at::mm(square, square), square, 0, 1e-12));
  EXPECT_NEAR(square.trace().item<double>(), 6, 1e-12);
}

TEST(StreamBasis, RefusesWhatItCannotGive) {
  const at::Tensor moments = some_moments(6);
  expect_error(ErrorKind::InvalidArgument, "a basis of 7 vectors",
               [&] { stream_basis(moments, 7, NormKind::Rms); });
  expect_error(ErrorKind::InvalidArgument, "at least 2 must stay",
               [&] { stream_basis(moments, 1, NormKind::Layer); });
  expect_error(ErrorKind::Numeric, "not finite",
               [&] { stream_basis(moments / 0.0, 3, NormKind::Rms); });
}

// All directions stay: the same function, whatever the family.
TEST(Rotated, WithAllDirectionsGivesTheLogitsOfTheModel) {
  std::set<std::string> refused;
  for (const std::string& name : golden_names()) {
    const Model model = open_model(golden_dir(name));
    if (!is_rotatable(model)) {
      refused.insert(name);
      continue;
    }
    const Model turned = rotated(model, basis_of(model, model.config().hidden_size).vectors);
    EXPECT_LT(error_against(turned, model), 1e-4) << name;
  }
  EXPECT_EQ(refused, (std::set<std::string>{"baichuan2_13b", "baichuan2_7b", "bloom", "bloom_hub",
                                            "gemma2", "gemma3_text", "gemma3_text_linear", "glm4",
                                            "olmo2", "opt_post"}));
}

TEST(Rotated, WithFewerGivesThoseOfTheProjectedModel) {
  for (const std::string& name : golden_names()) {
    const Model model = open_model(golden_dir(name));
    if (!is_rotatable(model)) continue;
    const int64_t size = model.config().hidden_size * 5 / 8;
    const at::Tensor v = basis_of(model, size).vectors;
    // With a norm that centres v is no basis of `size`, but v·vᵀ still is the projection.
    const Model want = projected(model, at::mm(v, v.t()));
    const Model turned = rotated(model, v);
    EXPECT_EQ(turned.config().hidden_size, size);
    EXPECT_LT(turned.parameters(), want.parameters()) << name;
    EXPECT_LT(error_against(turned, want), 2e-5) << name;
    EXPECT_GT(error_against(turned, model), 1e-2) << name;  // and something is lost
  }
}

TEST(Rotated, LeavesNothingToTheGains) {
  for (const char* family : {"llama", "gemma"}) {
    const Model model = tiny_model({.family = family});
    const Model turned = rotated(model, basis_of(model, 10).vectors);
    for (const auto& [role, layer] : {std::pair(Role::AttnNorm, 1), {Role::FinalNorm, -1}}) {
      const at::Tensor gain = turned.source().read(turned.tensor(role, layer));
      EXPECT_TRUE(at::equal(gain, at::full({10}, family == std::string("gemma") ? 0.0F : 1.0F)));
    }
  }
}

TEST(Rotated, GivesATiedHeadWeightsOfItsOwn) {
  const Model model = tiny_model({.tied = true});
  const Model turned = rotated(model, basis_of(model, 16).vectors);
  EXPECT_FALSE(turned.config().tie_word_embeddings);
  const TensorInfo& head = turned.tensor(Role::LmHead);
  EXPECT_EQ(head.spec->role, Role::LmHead);
  EXPECT_LT(error_against(turned, model), 1e-4);
  EXPECT_EQ(turned.parameters(), model.parameters() + 29 * 16);
}

// By rows as a whole, for what is read in pieces.
TEST(Rotated, ReadsRowsAsItReadsAll) {
  const Model model = tiny_model({});
  const Model turned = rotated(model, basis_of(model, 10).vectors);
  const at::Tensor rows = at::tensor({2, 7}, at::kLong);
  for (const auto& [role, layer] :
       {std::pair(Role::EmbedTokens, -1), {Role::LmHead, -1}, {Role::QProj, 1}, {Role::OProj, 0}}) {
    const TensorInfo& tensor = turned.tensor(role, layer);
    const at::Tensor all = turned.source().read(tensor);
    EXPECT_TRUE(
        at::allclose(turned.source().read_rows(tensor, 3, 4), all.narrow(0, 3, 4), 0, 1e-6));
    EXPECT_TRUE(at::allclose(turned.source().select_rows(tensor, rows), all.index_select(0, rows),
                             0, 1e-6));
  }
}

TEST(Rotated, SaysWhyItCannot) {
  const auto refused = [](const char* name, const char* why) {
    const Model model = open_model(golden_dir(name));
    expect_error(ErrorKind::Unsupported, why, [&] { check_rotatable(model); });
    expect_error(ErrorKind::Unsupported, why,
                 [&] { rotated(model, at::eye(model.config().hidden_size, at::kDouble)); });
  };
  refused("gemma2", "normalises what a part adds");
  refused("opt_post", "behind the sums");
  refused("bloom", "a norm follows its embedding");
  refused("baichuan2_7b", "rows of its head");
  const Model model = tiny_model({});
  expect_error(ErrorKind::InvalidArgument, "a basis of shape [12, 4] for a stream of 16", [&] {
    rotated(model, at::zeros({12, 4}, at::kDouble));
  });
}

}  // namespace
}  // namespace prunus::test::rotate_test
