#include "prunus/model/model.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test {
namespace {

std::string open_error(const std::string& dir, ErrorKind kind) {
  try {
    open_model(dir);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "opened";
  return "";
}

TEST(Model, ListsTensorsInTableOrderWithTheirShapes) {
  const Model model = tiny_model({.q_heads = 4, .kv_heads = 2});
  EXPECT_EQ(model.tensors().front().name, "model.embed_tokens.weight");
  EXPECT_EQ(model.tensors().back().name, "lm_head.weight");
  EXPECT_EQ(model.tensor(Role::KProj, 1).shape, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(model.tensor(Role::OProj, 0).shape, (std::vector<int64_t>{16, 16}));
  // 29·16·2 + 16 + 2·(16·16·2 + 8·16·2 + 3·12·16 + 2·16)
  EXPECT_EQ(model.parameters(), 928 + 16 + 2 * (512 + 256 + 576 + 32));
}

TEST(Model, ATiedModelHasItsHeadInTheEmbedding) {
  const Model model = tiny_model({.tied = true});
  EXPECT_EQ(model.tensor(Role::LmHead).name, "model.embed_tokens.weight");
}

TEST(OpenModel, NamesTheTensorThatIsMissingMisshapenOrUnknown) {
  const TempDir dir;
  const Model model = tiny_model({});
  Json config = tiny_config({});
  save_model(model, config, dir / "good");
  EXPECT_NO_THROW(open_model(dir / "good"));

  config["intermediate_size"] = 13;
  save_model(model, config, dir / "misshapen");
  EXPECT_NE(open_error(dir / "misshapen", ErrorKind::Corrupt).find("gate_proj"), std::string::npos);

  config = tiny_config({});
  config["num_hidden_layers"] = 1;
  save_model(model, config, dir / "unknown");
  EXPECT_NE(open_error(dir / "unknown", ErrorKind::Unsupported).find("layers.1"),
            std::string::npos);

  config["num_hidden_layers"] = 3;
  save_model(model, config, dir / "missing");
  EXPECT_NE(open_error(dir / "missing", ErrorKind::NotFound).find("layers.2"), std::string::npos);
}

TEST(Model, RefusesWeightsThatAreNotFinite) {
  const Model model = tiny_model({});
  const auto weights = copy_weights(model);
  weights->tensors.at("model.layers.1.mlp.up_proj.weight")[3][4] = NAN;
  const Model broken(model.config(), weights);
  EXPECT_NO_THROW(broken.load_block(0, at::kCPU));
  try {
    broken.load_block(1, at::kCPU);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt);
    EXPECT_NE(std::string(error.what()).find("layers.1.mlp.up_proj"), std::string::npos);
  }
}

TEST(CheckFinite, AcceptsFiniteValuesWhoseSumOverflows) {
  EXPECT_NO_THROW(check_finite(at::full({4}, 3e38f), "w"));
  EXPECT_THROW(check_finite(at::tensor({1.0f, INFINITY}), "w"), Error);
}

// Layer 0 in FP32, the others in BF16.
class MixedSource : public MemorySource {
 public:
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    return tensor.layer == 0 ? at::kFloat : at::kBFloat16;
  }
  at::Tensor read(const TensorInfo& tensor) const override {
    return MemorySource::read(tensor).to(dtype(tensor));
  }
};

TEST(LoadBlock, RecyclesOnlyMemoryThatIsItsOwn) {
  const Model whole = tiny_model({.layers = 4});
  const auto source = std::make_shared<MixedSource>();
  source->tensors = copy_weights(whole)->tensors;
  const auto untouched = copy_weights(whole);
  const Model model(whole.config(), source);
  BlockWeights weights;
  void* before = nullptr;
  for (const int layer : {0, 1, 2, 3, 0, 2}) {
    weights = model.load_block(layer, at::kCPU, std::move(weights));
    const BlockWeights fresh = model.load_block(layer, at::kCPU);
    EXPECT_TRUE(at::equal(weights[Role::QProj], fresh[Role::QProj])) << layer;
    EXPECT_TRUE(at::equal(weights[Role::MlpNorm], fresh[Role::MlpNorm])) << layer;
    if (layer == 3) {
      EXPECT_EQ(weights[Role::QProj].data_ptr(), before);
    }
    before = weights[Role::QProj].data_ptr();
  }
  for (const auto& [name, tensor] : untouched->tensors) {
    EXPECT_TRUE(at::equal(tensor, source->tensors.at(name))) << name;
  }
}

}  // namespace
}  // namespace prunus::test
