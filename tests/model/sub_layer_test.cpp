// Layers without attention or without a feed-forward part, in every family: the decoder against
// the same model whose sub-layer puts out zeros.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/io/hf_directory.h"
#include "prunus/model/cost.h"
#include "prunus/model/decoder.h"
#include "prunus/model/resident_model.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/sub_layers.h"

namespace prunus::test::sub_layer_test {
namespace {

constexpr Decoder::Kernels kKernels[] = {Decoder::Kernels::Libtorch, Decoder::Kernels::Fused,
                                         Decoder::Kernels::SmallHeads};

// Hidden states behind the last layer: at once, or with a cache, five tokens and then one by one.
at::Tensor passed(const Model& model, const at::Tensor& ids, Decoder::Kernels kernels,
                  bool by_steps) {
  const at::NoGradGuard no_grad;
  const Decoder decoder(model.config(), kernels);
  const at::Tensor hidden = embed(model, ids, at::kCPU);
  std::vector<LayerCache> cache(static_cast<size_t>(model.layer_count()));
  std::vector<at::Tensor> pieces;
  for (int64_t at = 0; at < hidden.size(1);) {
    const int64_t count = !by_steps ? hidden.size(1) : at == 0 ? 5 : 1;
    at::Tensor x = hidden.narrow(1, at, count);
    for (int layer = 0; layer < model.layer_count(); ++layer) {
      x = decoder.block(layer, model.load_block(layer, at::kCPU), x, nullptr,
                        by_steps ? &cache[static_cast<size_t>(layer)] : nullptr, at);
    }
    pieces.push_back(x);
    at += count;
  }
  return at::cat(pieces, 1);
}

// The parts of the whole model one after the other, one left out.
at::Tensor left_out(const Model& model, const at::Tensor& ids, SubLayer part, int dropped) {
  const at::NoGradGuard no_grad;
  const Decoder decoder(model.config(), Decoder::Kernels::Libtorch);
  at::Tensor x = embed(model, ids, at::kCPU);
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    const BlockWeights weights = model.load_block(layer, at::kCPU);
    const bool attends = layer != dropped || part != SubLayer::Attention;
    const bool feeds = layer != dropped || part != SubLayer::FeedForward;
    const at::Tensor before = x;
    if (attends) x = x + decoder.attention_part(layer, weights, before);
    const at::Tensor read = model.config().parallel_residual ? before : x;
    if (feeds) x = x + decoder.feed_forward_part(layer, weights, read);
  }
  return x;
}

class DroppedSubLayer : public testing::TestWithParam<std::string> {
 protected:
  const Model model_ = open_model(golden_dir(GetParam()));
  const at::Tensor ids_ = random_ids(model_, 2, 9);

  int last() const { return static_cast<int>(model_.layer_count()) - 1; }
};

TEST_P(DroppedSubLayer, LeavesWhatZerosInItsOutputWould) {
  for (const SubLayer part : kSubLayers) {
    for (const int layer : {0, last()}) {
      const Model dropped = without(model_, part, layer);
      const Model zeroed = silenced(model_, part, layer);
      const at::Tensor meant = left_out(model_, ids_, part, layer);
      for (const Decoder::Kernels kernels : kKernels) {
        for (const bool by_steps : {false, true}) {
          const std::string what = c10::str(name_of(part), " of layer ", layer, ", kernels ",
                                            static_cast<int>(kernels), ", steps ", by_steps);
          const at::Tensor got = passed(dropped, ids_, kernels, by_steps);
          EXPECT_LT(relative_error(got, meant), 1e-5) << what;
          if (!model_.config().pre_norm) continue;  // its norm goes too
          EXPECT_LT(relative_error(got, passed(zeroed, ids_, kernels, by_steps)), 3e-6) << what;
        }
      }
    }
  }
}

TEST_P(DroppedSubLayer, GeneratesTheSameInBFloat16) {
  const at::NoGradGuard no_grad;
  const auto logits = [&](const Model& model, at::ScalarType type) {
    const ResidentModel resident(model, at::kCPU, type);
    std::vector<LayerCache> cache(static_cast<size_t>(model.layer_count()));
    std::vector<at::Tensor> all = {resident.next_logits(ids_.narrow(1, 0, 5), 0, cache)};
    for (int64_t at = 5; at < ids_.size(1); ++at) {
      all.push_back(resident.next_logits(ids_.narrow(1, at, 1), at, cache));
    }
    return at::stack(all);
  };
  for (const SubLayer part : kSubLayers) {
    const at::Tensor got = logits(without(model_, part, 0), at::kBFloat16);
    if (model_.config().pre_norm) {
      const at::Tensor meant = logits(silenced(model_, part, 0), at::kBFloat16);
      // A layer that lost its experts takes a step on plain memory, without rounding in between.
      const bool experts = model_.config().layers[0].experts > 0;
      EXPECT_LT(relative_error(got, meant), experts ? 2e-2 : 1e-6) << name_of(part);
    } else {  // a norm behind the sum goes too: FP32 is all there is to compare with
      const at::Tensor meant = logits(without(model_, part, 0), at::kFloat);
      EXPECT_LT(relative_error(got, meant), 2e-2) << name_of(part);
    }
  }
}

// Its tensors are gone, with their norms, and so is what they cost.
TEST_P(DroppedSubLayer, HasNoTensorsAndCostsNothing) {
  for (const SubLayer part : kSubLayers) {
    const Model dropped = without(model_, part, 0);
    int64_t parameters = model_.parameters();
    for (const TensorInfo& tensor : model_.tensors()) {
      if (tensor.layer == 0 && sub_layer_of(tensor.spec->role) == part) {
        parameters -= c10::multiply_integers(tensor.shape);
      }
    }
    EXPECT_EQ(dropped.parameters(), parameters);
    EXPECT_EQ(count_parameters(dropped.config()), parameters);
    const Macs before = count_macs(model_.config(), 10), after = count_macs(dropped.config(), 10);
    const bool attention = part == SubLayer::Attention;
    EXPECT_EQ(after.ffn < before.ffn, !attention);
    EXPECT_EQ(after.projections < before.projections, attention);
    EXPECT_EQ(after.attention < before.attention, attention);
    EXPECT_EQ(kv_cache_bytes(dropped.config(), 10) < kv_cache_bytes(model_.config(), 10),
              attention);
  }
}

TEST_P(DroppedSubLayer, IsWrittenInTheConfigAndReadAgain) {
  const Json original = read_config(golden_dir(GetParam()));
  for (const SubLayer part : kSubLayers) {
    ModelConfig config = model_.config();
    config.layers[0].drop(part);
    const Json json = rewrite_config(original, config);
    EXPECT_TRUE(json.at("model_type").get<std::string>().starts_with(kOwnTypePrefix));
    const ModelConfig again = parse_config(json, "c");
    EXPECT_EQ(again.layers, config.layers) << name_of(part);
    EXPECT_EQ(again.head_dim, config.head_dim);
    EXPECT_EQ(again.alibi_heads, config.alibi_heads);
    EXPECT_FALSE(again.uniform());
    EXPECT_FALSE(stock_obstacles(again).empty());
    // Without that layer the model is a stock model again, where the family can say its sizes.
    ModelConfig rest = again;
    rest.layers.erase(rest.layers.begin());
    if (!rest.uniform() || !stock_obstacles(rest).empty()) continue;
    const Json stock = rewrite_config(json, rest);
    EXPECT_EQ(stock.at("model_type"), rest.family->model_type);
    EXPECT_FALSE(stock.contains("layer_num_attention_heads"));
    EXPECT_EQ(parse_config(stock, "c").layers, rest.layers);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DroppedSubLayer, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

TEST(SubLayers, BothMayGoFromALayer) {
  const Model model = tiny_model({.kv_heads = 2, .layers = 3});
  const Model identity = without(without(model, SubLayer::Attention, 1), SubLayer::FeedForward, 1);
  ModelConfig config = model.config();
  const at::Tensor ids = random_ids(model, 2, 6);
  const Model zeroed = silenced(silenced(model, SubLayer::Attention, 1), SubLayer::FeedForward, 1);
  EXPECT_LT(relative_error(logits_of(identity, ids), logits_of(zeroed, ids)), 1e-6);
}

// A block that is loaded into the memory of another has only what its own layer has.
TEST(SubLayers, DoNotLinger) {
  const Model model = without(tiny_model({.layers = 3}), SubLayer::Attention, 1);
  BlockWeights weights = model.load_block(0, at::kCPU);
  weights = model.load_block(1, at::kCPU, std::move(weights));
  EXPECT_FALSE(weights[Role::QProj].defined());
  EXPECT_FALSE(weights[Role::AttnNorm].defined());
  EXPECT_TRUE(weights[Role::DownProj].defined());
  weights = model.load_block(2, at::kCPU, std::move(weights));
  EXPECT_TRUE(at::equal(weights[Role::QProj], model.source().read(model.tensor(Role::QProj, 2))));
}

// 16 channels, 4 heads of 4, 12 feed-forward channels, 2 layers, 29 ids; by hand.
TEST(SubLayers, CostByHand) {
  ModelConfig config = tiny_model({.kv_heads = 2}).config();
  config.layers[0].drop(SubLayer::Attention);
  config.layers[1].drop(SubLayer::FeedForward);
  const Macs macs = count_macs(config, 5);
  EXPECT_EQ(macs.projections, 2 * 5 * 16 * 4 * (4 + 2));
  EXPECT_EQ(macs.attention, 2 * 4 * 4 * (1 + 2 + 3 + 4 + 5));
  EXPECT_EQ(macs.ffn, 3 * 5 * 16 * 12);
  EXPECT_EQ(kv_cache_bytes(config, 5), 2 * 2 * 4 * 5 * 2);
  // Projections 4·5·16·16, scores 4·(2·25·4 + 25), rotary 4·5·16; FFN 3·5·16·12 + 5·12; a norm
  // each; head and last norm.
  EXPECT_EQ(llm_pruner_macs(config, 5), 5120 + 900 + 320 + 2880 + 60 + 2 * 160 + 5 * 16 * 29 + 160);
}

TEST(SubLayers, RefuseSizesThatSayTwoThings) {
  const auto refuse = [](const Json& changes, const std::string& message) {
    Json json = tiny_config({.layers = 2});
    json.update(changes);
    expect_error(ErrorKind::Corrupt, message, [&] { parse_config(json, "c"); });
  };
  refuse({{"layer_num_attention_heads", {0, 4}}}, "layer 0 has 0 query heads and 4 key/value");
  refuse({{"layer_num_key_value_heads", {4, 0}}}, "layer 1 has 4 query heads and 0 key/value");
  refuse({{"layer_num_attention_heads", {0, 0}}, {"layer_num_key_value_heads", {0, 0}}},
         "no layer has attention");
  refuse({{"layer_intermediate_size", {0, 0}}}, "no layer has a feed-forward part");
  Json mixture = read_config(golden_dir("mixtral"));
  const auto layers = parse_config(mixture, "c").layers.size();
  std::vector<int64_t> widths(layers, 8);
  widths[0] = 0;
  mixture["layer_intermediate_size"] = widths;
  expect_error(ErrorKind::Corrupt, "layer 0 has 0 intermediate channels, but",
               [&] { parse_config(mixture, "c"); });
}

}  // namespace
}  // namespace prunus::test::sub_layer_test
