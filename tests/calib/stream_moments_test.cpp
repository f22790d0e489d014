#include "prunus/calib/stream_moments.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/golden_models.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::stream_moments_test {
namespace {

// What a product reads, less the norm's bias, divided by its gain.
at::Tensor before_gain(const Model& model, const at::Tensor& x, Role gain, Role bias, int layer) {
  const auto vector = [&](Role role) {
    return model.source().read(model.tensor(role, layer)).to(at::kDouble);
  };
  const at::Tensor centred = model.config().family->norm == NormKind::Layer ? x - vector(bias) : x;
  return centred / vector(gain);
}

at::Tensor expected(const Model& model, const std::vector<TokenBatch>& batches) {
  const RecordedInputs seen(model, batches);
  const int64_t channels = model.config().hidden_size;
  at::Tensor sum = at::zeros({channels, channels}, at::kDouble);
  const auto add = [&](const at::Tensor& x) { sum += at::mm(x.t(), x); };
  const auto last = static_cast<int>(model.layer_count()) - 1;
  for (int layer = 0; layer <= last; ++layer) {
    add(before_gain(model, seen.input(layer, Role::QProj), Role::AttnNorm, Role::AttnNormBias,
                    layer));
    add(before_gain(model, seen.input(layer, Role::UpProj), Role::MlpNorm, Role::MlpNormBias,
                    layer));
  }
  at::Tensor x = seen.after(last);
  if (model.config().family->norm == NormKind::Layer) x = x - x.mean(1, true);
  add(x / (x.square().mean(1, true) + model.config().norm_eps).sqrt());
  return sum;
}

TEST(StreamMoments, AreThoseOfAllNormsBeforeTheirGains) {
  const Model models[] = {tiny_model({.kv_heads = 2}), open_model(golden_dir("gpt2"))};
  for (const Model& model : models) {
    const std::vector<TokenBatch> batches = {{random_ids(model, 2, 7, 1)},
                                             {random_ids(model, 1, 5, 2)}};
    const at::Tensor moments = stream_moments(model, batches, at::kCPU);
    EXPECT_EQ(moments.scalar_type(), at::kDouble);
    EXPECT_LT(relative_error(moments, expected(model, batches)), 1e-5);
    EXPECT_TRUE(at::equal(moments, moments.t()));
    // Every norm gives every token the same length.
    const double norms = 2.0 * static_cast<double>(model.layer_count()) + 1;
    EXPECT_NEAR(moments.trace().item<double>(),
                19 * norms * static_cast<double>(model.config().hidden_size),
                1e-2 * moments.trace().item<double>());
  }
}

}  // namespace
}  // namespace prunus::test::stream_moments_test
