// The GGUF files of tools/real_models.sh as models, against what stock transformers makes of them
// (tools/make_real_model_goldens.py).
#include <algorithm>
#include <filesystem>
#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/model/resident_model.h"
#include "prunus/text/tokenizer.h"

#include "support/paths.h"

namespace prunus::gguf_source_real_test {
namespace {

class RealGguf : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    golden_ = read_json(test::source_path(std::string("tests/model/real/") + GetParam() + ".json"));
    path_ = test::real_models_dir() + "/" + golden_.at("file").get<std::string>();
    PRUNUS_NEED_REAL_MODEL(path_);
  }

  Json golden_;
  std::string path_;
};

TEST_P(RealGguf, EveryWeightIsWhatTransformersDequantises) {
  const Model model = open_model(path_);
  std::map<std::string, std::string> hashes;
  for (const TensorInfo& tensor : model.tensors()) {
    const at::Tensor values = model.source().read(tensor).to(at::kFloat).contiguous();
    hashes[tensor.name] =
        sha256({static_cast<const char*>(values.const_data_ptr()), values.nbytes()});
    model.source().release(tensor);
  }
  std::string lines;
  for (const auto& [name, hash] : hashes) lines += name + " " + hash + "\n";
  EXPECT_EQ(hashes.size(), golden_.at("weights").at("count").get<size_t>());
  EXPECT_EQ(sha256(lines), golden_.at("weights").at("sha256").get<std::string>());
}

TEST_P(RealGguf, LogitsAreThoseOfTransformers) {
  const at::NoGradGuard no_grad;
  const ResidentModel model(open_model(path_), at::kCPU);
  const auto ids = golden_.at("ids").get<std::vector<int64_t>>();
  std::vector<LayerCache> cache(static_cast<size_t>(model.layer_count()));
  const at::Tensor logits =
      model.next_logits(at::tensor(ids, at::kLong).unsqueeze(0), 0, cache).flatten();
  const auto places = at::tensor(golden_.at("places").get<std::vector<int64_t>>(), at::kLong);
  const auto expected = at::tensor(golden_.at("logits").get<std::vector<float>>());
  const double largest = golden_.at("largest_logit");
  EXPECT_LT((logits.index_select(0, places) - expected).abs().max().item<double>(), 1e-4 * largest);
  EXPECT_NEAR(logits.abs().max().item<double>(), largest, 1e-4 * largest);
}

TEST_P(RealGguf, LogitsFromBlocksAsStoredAreThoseOfTransformers) {
  const at::NoGradGuard no_grad;
  const Model file = open_model(path_);
  const ResidentModel model(file, at::kCPU,
                            residence(file, ResidentDtype::Auto, KvDtype::Auto, at::kCPU));
  const at::Tensor ids =
      at::tensor(golden_.at("ids").get<std::vector<int64_t>>(), at::kLong).unsqueeze(0);
  std::vector<LayerCache> cache = model.empty_cache();
  const int64_t length = ids.size(1);
  model.next_logits(ids.narrow(1, 0, length - 2), 0, cache);
  model.next_logits(ids.narrow(1, length - 2, 1), length - 2, cache);
  const at::Tensor logits =
      model.next_logits(ids.narrow(1, length - 1, 1), length - 1, cache).flatten();
  const auto places = at::tensor(golden_.at("places").get<std::vector<int64_t>>(), at::kLong);
  const auto expected = at::tensor(golden_.at("logits").get<std::vector<float>>());
  const double largest = golden_.at("largest_logit");
  // Matrices without row products are BF16.
  EXPECT_LT((logits.index_select(0, places) - expected).abs().max().item<double>(), 0.02 * largest)
      << model.dtype_text();
}

TEST_P(RealGguf, TokensAreThoseOfTransformers) {
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(path_);
  for (const Json& text : golden_.at("texts")) {
    EXPECT_EQ(tokenizer->encode(text.at("text").get<std::string>()),
              text.at("ids").get<std::vector<int64_t>>())
        << text.at("text");
  }
}

INSTANTIATE_TEST_SUITE_P(Files, RealGguf, testing::Values("smollm2", "gemma3"));

}  // namespace
}  // namespace prunus::gguf_source_real_test
