// Prune&Comp: factors from norms written out in FP64, and the model they make against a stream that
// is multiplied.
#include "prunus/solve/stream_scale.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/calib/stream.h"
#include "prunus/graph/shrink.h"
#include "prunus/model/decoder.h"
#include "prunus/model/lm_head.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::stream_scale_test {
namespace {

const std::vector<int64_t> kKept{0, 2, 5};  // of six layers: gaps of one and of two

at::Tensor through(const Model& model, int layer, const at::Tensor& x) {
  const BlockWeights weights = model.load_block(layer, at::kCPU);
  return Decoder(model.config()).block(layer, weights, x);
}

double ratio(const at::Tensor& a, const at::Tensor& b) {
  double sum = 0;
  for (int64_t t = 0; t < a.size(0) * a.size(1); ++t) {
    const at::Tensor x = a.flatten(0, 1)[t];
    const at::Tensor y = b.flatten(0, 1)[t];
    sum += std::sqrt((x * x).sum().item<double>() / (y * y).sum().item<double>());
  }
  return sum / static_cast<double>(a.size(0) * a.size(1));
}

class StreamScale : public testing::TestWithParam<const char*> {};

TEST_P(StreamScale, IsTheGrowthThatIsMissing) {
  const Model dense = tiny_model({.family = GetParam(), .layers = 6, .tied = true});
  const Model pruned = shrink(dense, {{AxisLabel::Layer, -1, kKept}});
  const at::Tensor ids = random_ids(dense, 3, 9, 4);
  const std::vector<double> scales =
      stream_scales(pruned, dense, kKept, {{ids.narrow(0, 0, 2)}, {ids.narrow(0, 2, 1)}}, at::kCPU);
  // By hand, in FP64, with the stream multiplied.
  Model exact = dense;
  exact.set_precision(at::kDouble);
  at::Tensor x = BlockStream(exact, at::kCPU).embed({{ids}})[0];
  at::Tensor y = x;
  std::vector<double> wanted;
  for (int layer = 0; layer < 6; ++layer) {
    const bool stays = std::find(kKept.begin(), kKept.end(), layer) != kKept.end();
    if (stays) {
      const bool gap = layer == 2 || layer == 5;
      wanted.push_back(gap ? ratio(x, y) : 1.0);
      y = through(exact, layer, y * wanted.back());
    }
    x = through(exact, layer, x);
  }
  ASSERT_EQ(scales.size(), 3U);
  EXPECT_EQ(scales[0], 1.0);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(scales[i], wanted[i], 1e-5 * wanted[i]);
  EXPECT_NE(scales[1], 1.0);
  // The weights say the same.
  const Model scaled = with_scaled_stream(pruned, scales);
  const at::Tensor logits = LmHead(exact, at::kCPU).logits(y.flatten(0, 1));
  EXPECT_LT(relative_error(logits_of(scaled, ids).flatten(0, 1).to(at::kDouble), logits), 1e-3);
  EXPECT_GT(relative_error(logits_of(pruned, ids).flatten(0, 1).to(at::kDouble), logits), 1e-2);
  EXPECT_EQ(scaled.parameters(), pruned.parameters());
}

INSTANTIATE_TEST_SUITE_P(Families, StreamScale, testing::Values("llama", "qwen2", "gpt2"));

TEST(StreamScaleRefuses, NormsBehindParts) {
  for (const char* name : {"gemma2", "olmo2"}) {
    const Model model = open_model(golden_dir(name));
    expect_error(ErrorKind::Unsupported, "--solver prune-comp: the residual stream",
                 [&] { check_stream_scale(model); });
  }
}

}  // namespace
}  // namespace prunus::test::stream_scale_test
