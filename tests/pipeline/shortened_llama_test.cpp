// The layers that Shortened LLaMA drops, by models built one by one and by gradients of autograd.
#include <numeric>

#include <gtest/gtest.h>

#include "prunus/pipeline/prune.h"

#include "support/expect_error.h"
#include "support/plain_loss.h"

namespace prunus::test::shortened_llama_test {
namespace {

std::vector<int64_t> highest(const std::vector<double>& scores, size_t count) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<TokenBatch> text_for(const Model& model) {
  return {{random_ids(model, 2, 9, 1)}, {random_ids(model, 1, 9, 2)}};
}

TEST(ShortenedLlama, DropsTheLayersWithoutWhichTheLossIsLeast) {
  const Model model = tiny_model({.layers = 5});
  const std::vector<TokenBatch> text = text_for(model);
  std::vector<double> losses;
  for (int64_t layer = 0; layer < 5; ++layer) {
    losses.push_back(plain_loss(without_unit(model, layer), text));
  }
  const PlanResult made = make_plan(model, text, {.method = "shortened-llama", .ratio = 0.4});
  ASSERT_EQ(made.plan.entries.size(), 1U);
  const PlanEntry& entry = made.plan.entries[0];
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(entry.scores[i], losses[i], 1e-5);
  EXPECT_EQ(entry.keep.units, highest(losses, 3));
  EXPECT_NEAR(made.calibration_loss, plain_loss(model, text), 1e-5);
}

// Σ |W·∂L/∂W| of one matrix by central differences, one weight after the other.
double slow_change(const Model& model, const std::string& name,
                   const std::vector<TokenBatch>& text) {
  constexpr float kStep = 1e-3F;
  const int64_t count = copy_weights(model)->tensors.at(name).numel();
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    float value = 0;
    const auto loss_at = [&](float step, float& moved) {
      const auto weights = copy_weights(model);
      float& weight = weights->tensors.at(name).mutable_data_ptr<float>()[i];
      value = weight;
      moved = weight + step;
      weight = moved;
      return plain_loss(Model(model.config(), weights), text);
    };
    float high = 0;
    float low = 0;
    const double above = loss_at(kStep, high);
    const double below = loss_at(-kStep, low);
    sum += std::abs(value * (above - below) / (static_cast<double>(high) - low));
  }
  return sum;
}

TEST(ShortenedLlama, ByTaylorAddsUpAllMatricesOfALayer) {
  const Model model =
      tiny_model({.hidden = 4, .head_dim = 2, .q_heads = 2, .kv_heads = 2, .ffn = 3, .layers = 7});
  const std::vector<TokenBatch> text{{random_ids(model, 2, 6, 1)}};
  const Plan made =
      make_plan(model, text, {.method = "shortened-llama", .taylor = "plus", .ratio = 0.14}).plan;
  const std::vector<double>& scores = made.entries.at(0).scores;
  ASSERT_EQ(scores.size(), 7U);
  for (const int layer : {0, 4}) {
    double sum = 0;
    for (const TensorInfo& tensor : model.tensors()) {
      if (tensor.layer == layer && tensor.spec->rank == 2) {
        sum += slow_change(model, tensor.name, text);
      }
    }
    EXPECT_NEAR(scores[static_cast<size_t>(layer)], sum, 1e-3 * sum);
  }
  // The first four and the last two stay, whatever their scores.
  EXPECT_EQ(made.entries[0].keep.units, (std::vector<int64_t>{0, 1, 2, 3, 5, 6}));
}

TEST(ShortenedLlama, ByTaylorKeepsTheEnds) {
  const Model model = tiny_model({.layers = 9});
  const std::vector<TokenBatch> text = text_for(model);
  const Plan made =
      make_plan(model, text, {.method = "shortened-llama", .taylor = "plus", .ratio = 0.11}).plan;
  const PlanEntry& entry = made.entries.at(0);
  const std::vector<double> middle(entry.scores.begin() + 4, entry.scores.begin() + 7);
  std::vector<int64_t> kept{0, 1, 2, 3};
  for (const int64_t one : highest(middle, 2)) kept.push_back(4 + one);
  kept.insert(kept.end(), {7, 8});
  EXPECT_EQ(entry.keep.units, kept);
}

// Nothing is scored: there is no text.
TEST(ShortenedLlama, ByTaylorSaysAtOnceWhereTheEndsAreInTheWay) {
  const Model model = tiny_model({.layers = 8});
  expect_error(ErrorKind::InvalidArgument,
               "taylor_plus keeps the first 4 and the last 2 of 8 layers, but 4 are to go", [&] {
                 make_plan(model, std::vector<TokenBatch>(),
                           {.method = "shortened-llama", .taylor = "plus", .ratio = 0.5});
               });
  expect_error(ErrorKind::InvalidArgument, "--taylor", [&] {
    make_plan(model, text_for(model), {.method = "shortened-llama", .taylor = "vectorize"});
  });
}

TEST(ShortenedLlama, RanksPartsInOneShotToo) {
  const Model model = tiny_model({.layers = 4});
  const std::vector<TokenBatch> text = text_for(model);
  const Plan made =
      make_plan(model, text,
                {.method = "shortened-llama", .structure = Structure::Part, .ratio = 0.25})
          .plan;
  ASSERT_EQ(made.entries.size(), 2U);
  std::vector<double> losses;
  for (int64_t layer = 0; layer < 4; ++layer) {
    losses.push_back(plain_loss(without_unit(model, layer, SubLayer::Attention), text));
    EXPECT_NEAR(made.entries[0].scores[static_cast<size_t>(layer)], losses.back(), 1e-5);
  }
  for (int64_t layer = 0; layer < 4; ++layer) {
    losses.push_back(plain_loss(without_unit(model, layer, SubLayer::FeedForward), text));
  }
  std::vector<int64_t> kept;
  for (const int64_t layer : made.entries[0].keep.units) kept.push_back(layer);
  for (const int64_t layer : made.entries[1].keep.units) kept.push_back(4 + layer);
  EXPECT_EQ(kept, highest(losses, 6));
}

}  // namespace
}  // namespace prunus::test::shortened_llama_test
