#include "prunus/model/generate.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"

#include "support/tiny_model.h"

namespace prunus::test::generate_test {
namespace {

TEST(Generate, GreedyPicksTheLikeliestNextTokenOfTheFullForward) {
  const Model model = tiny_model({.kv_heads = 2});
  std::vector<int64_t> ids{1, 5, 9};
  const auto out = Generator(model, at::kCPU).generate(ids, {.max_tokens = 6});
  ASSERT_EQ(out.size(), 6u);
  for (const int64_t token : out) {
    const at::Tensor logits = logits_of(model, at::tensor(ids, at::kLong).unsqueeze(0));
    EXPECT_EQ(token, logits[0][static_cast<int64_t>(ids.size()) - 1].argmax().item<int64_t>());
    ids.push_back(token);
  }
}

TEST(Generate, StopsAtAStopIdAndAtTheEndOfTheContext) {
  const Model model = tiny_model({});
  Generator generator(model, at::kCPU);
  const auto free = generator.generate({1, 2}, {.max_tokens = 5});
  ASSERT_NE(free[1], free[0]);
  const std::vector<int64_t> stop{-1, free[1]};  // any of them, and it is the last id
  EXPECT_EQ(generator.generate({1, 2}, {.max_tokens = 5, .stop_ids = stop}),
            std::vector<int64_t>(free.begin(), free.begin() + 2));
  // 64 positions: a prompt of 60 leaves 4 to feed back, and the last one is predicted from them.
  const std::vector<int64_t> prompt(60, 3);
  EXPECT_EQ(generator.generate(prompt, {.max_tokens = 100}).size(), 5u);
}

TEST(Generate, RefusesWhatMakesNoSense) {
  const Model model = tiny_model({});
  Generator generator(model, at::kCPU);
  EXPECT_THROW(generator.generate({}, {}), Error);
  EXPECT_THROW(generator.generate({1}, {.max_tokens = 0}), Error);
  EXPECT_THROW(generator.generate({1}, {.temperature = -1}), Error);
  EXPECT_THROW(generator.generate({1}, {.top_p = 0}), Error);
  EXPECT_THROW(generator.generate(std::vector<int64_t>(65, 1), {}), Error);
}

TEST(SampleToken, DrawsByProbabilityAndTopPCutsTheTail) {
  // Probabilities 0.5, 0.3, 0.2.
  const at::Tensor logits = at::tensor({0.5f, 0.3f, 0.2f}).log();
  PythonRandom random(7);
  std::array<int, 3> all{};
  std::array<int, 3> top{};
  for (int i = 0; i < 4000; ++i) {
    ++all[static_cast<size_t>(sample_token(logits, {.temperature = 1}, random))];
    ++top[static_cast<size_t>(sample_token(logits, {.temperature = 1, .top_p = 0.7}, random))];
  }
  EXPECT_NEAR(all[0], 2000, 150);
  EXPECT_NEAR(all[1], 1200, 150);
  EXPECT_NEAR(all[2], 800, 150);
  EXPECT_NEAR(top[0], 2500, 150);  // 0.5 / 0.8
  EXPECT_EQ(top[2], 0);
}

TEST(SampleToken, RefusesLogitsThatAreNotFinite) {
  PythonRandom random(0);
  EXPECT_THROW(sample_token(at::tensor({0.0f, NAN}), {}, random), Error);
}

}  // namespace
}  // namespace prunus::test::generate_test
