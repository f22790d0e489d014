#include "prunus/model/model.h"

#include <filesystem>
#include <map>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/io/checkpoint_writer.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::model_test {
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

// A directory with these tensors and a config that ties its head.
void save_tied(const std::string& dir, const std::map<std::string, at::Tensor>& tensors,
               Json config = tiny_config({.tied = true})) {
  std::filesystem::create_directories(dir);
  std::vector<TensorPlan> plans;
  for (const auto& [name, value] : tensors) {
    plans.push_back({name, value.scalar_type(), value.sizes().vec()});
  }
  CheckpointWriter writer(dir, std::move(plans), 4096);  // several shards
  for (const TensorPlan& plan : writer.order()) writer.write(plan.name, tensors.at(plan.name));
  writer.finish();
  write_file(dir + "/config.json", config.dump());
}

const char* kHead = "lm_head.weight";
const char* kEmbedding = "model.embed_tokens.weight";

TEST(OpenModel, UsesAStoredHeadThatDiffersFromTheEmbedding) {
  const TempDir dir;
  const Model tied = tiny_model({.tied = true});
  auto tensors = copy_weights(tied)->tensors;
  tensors[kHead] = tensors.at(kEmbedding).clone();
  save_tied(dir / "equal", tensors);
  const Model equal = open_model(dir / "equal");
  EXPECT_TRUE(equal.config().tie_word_embeddings);
  EXPECT_EQ(equal.tensor(Role::LmHead).name, kEmbedding);

  tensors[kHead][28][15] += 1;
  save_tied(dir / "differs", tensors);
  const Model differs = open_model(dir / "differs");
  EXPECT_FALSE(differs.config().tie_word_embeddings);
  EXPECT_TRUE(at::equal(differs.load(differs.tensor(Role::LmHead), at::kCPU), tensors[kHead]));
  EXPECT_EQ(differs.parameters(), tied.parameters() + 29 * 16);

  tensors[kHead] = tensors.at(kEmbedding).to(at::kBFloat16);
  save_tied(dir / "rounded", tensors);
  EXPECT_FALSE(open_model(dir / "rounded").config().tie_word_embeddings);
}

TEST(OpenModel, TakesTheHeadOfATiedModelForAnEmbeddingThatIsMissing) {
  const TempDir dir;
  const Model tied = tiny_model({.tied = true});
  auto tensors = copy_weights(tied)->tensors;
  tensors[kHead] = tensors.at(kEmbedding);
  tensors.erase(kEmbedding);
  save_tied(dir / "m", tensors);
  const at::Tensor ids = random_ids(tied, 1, 5);
  EXPECT_TRUE(at::equal(logits_of(open_model(dir / "m"), ids), logits_of(tied, ids)));
}

TEST(OpenModel, NamesTheKeyWhereTheHeadIsMissing) {
  const TempDir dir;
  Json config = tiny_config({.tied = true});
  config.erase("tie_word_embeddings");
  save_tied(dir / "m", copy_weights(tiny_model({.tied = true}))->tensors, config);
  EXPECT_NE(open_error(dir / "m", ErrorKind::NotFound).find("add \"tie_word_embeddings\": true"),
            std::string::npos);
}

TEST(OpenModel, ReadsNamesThatWrappersChangedAndTheBaseClassShortened) {
  const TempDir dir;
  const Model tied = tiny_model({.tied = true});
  const at::Tensor ids = random_ids(tied, 1, 5);
  const at::Tensor expected = logits_of(tied, ids);
  const std::pair<const char*, const char*> cases[] = {{"module.", ""},
                                                       {"_orig_mod.", ""},
                                                       {"module._orig_mod.", ""},
                                                       {"", "model."},
                                                       {"base_model.model.", ""},
                                                       {"module.", "model."},
                                                       {"model._orig_mod.", "model."}};
  for (const auto& [added, dropped] : cases) {
    std::map<std::string, at::Tensor> tensors;
    const auto weights = copy_weights(tied);
    for (const auto& [name, value] : weights->tensors) {
      std::string stored = added + name.substr(std::string(dropped).size());
      const bool adapted = std::string(added) == "base_model.model.";
      const auto at = stored.find("q_proj.");
      if (adapted && at != std::string::npos) stored.insert(at + 7, "base_layer.");
      tensors[stored] = value;
    }
    save_tied(dir / "m", tensors);
    const Model model = open_model(dir / "m");
    EXPECT_EQ(model.tensors().front().name, kEmbedding);
    EXPECT_TRUE(at::equal(logits_of(model, ids), expected)) << added << " " << dropped;
    std::filesystem::remove_all(dir / "m");
  }
}

TEST(OpenModel, SaysWhatTensorsOfAnAdapterAreAndWhichNamesMeanTheSame) {
  const TempDir dir;
  auto tensors = copy_weights(tiny_model({.tied = true}))->tensors;
  tensors["model.layers.0.self_attn.q_proj.lora_A.default.weight"] = at::ones({2, 16});
  save_tied(dir / "adapter", tensors);
  EXPECT_NE(open_error(dir / "adapter", ErrorKind::Unsupported).find("merge_and_unload"),
            std::string::npos);
  tensors = copy_weights(tiny_model({.tied = true}))->tensors;
  tensors["module.model.norm.weight"] = at::ones({16});
  save_tied(dir / "twice", tensors);
  EXPECT_NE(open_error(dir / "twice", ErrorKind::Corrupt).find("both called 'model.norm.weight'"),
            std::string::npos);
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
}  // namespace prunus::test::model_test
