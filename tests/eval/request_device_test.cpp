#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/eval/perplexity.h"
#include "prunus/eval/request.h"

#include "support/device.h"
#include "support/tiny_model.h"

namespace prunus::test::request_device_test {
namespace {

TEST(ScoreRequestsOnTheDevice, GivesTheFiguresOfTheCpu) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<ScoreRequest> requests = {
      {{1, 2, 3, 4}, {5, 6}}, {{1, 2, 3, 4}, {7}}, {{9, 8, 7}, {1, 2, 3}}, {{20}, {21, 22}}};
  // Many small waves of small batches.
  const RequestOptions options{.batch_tokens = 8, .hidden_bytes = 1024};
  const auto wanted = score_requests(model, requests, at::kCPU, options);
  const auto scored = score_requests(model, requests, kTestDevice, options);
  ASSERT_EQ(scored.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_NEAR(scored[i].log_likelihood, wanted[i].log_likelihood, 1e-3) << "request " << i;
    EXPECT_EQ(scored[i].greedy, wanted[i].greedy) << "request " << i;
  }
}

TEST(PerplexityOnTheDevice, IsThatOfTheCpu) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<std::vector<int64_t>> sequences = {{1, 2, 3, 4, 5}, {9, 8, 7}, {20, 21}};
  const Perplexity wanted = score_sequences(model, sequences, at::kCPU, 512);
  const Perplexity scored = score_sequences(model, sequences, kTestDevice, 512);
  EXPECT_EQ(scored.tokens, wanted.tokens);
  EXPECT_NEAR(scored.nll_sum, wanted.nll_sum, 1e-3);
}

}  // namespace
}  // namespace prunus::test::request_device_test
