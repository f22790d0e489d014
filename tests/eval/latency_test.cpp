#include "prunus/eval/latency.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::latency_test {
namespace {

TEST(LatencySpread, IsTheMiddleAndBothEnds) {
  const Spread odd = spread_of({5, 1, 3});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 5);
  EXPECT_EQ(spread_of({4, 1, 2, 10}).median, 3);
  expect_error(ErrorKind::InvalidArgument, "no values", [] { spread_of({}); });
}

TEST(LatencyInterleave, RunsOneOfEachInTurnAndDropsTheWarmup) {
  std::string order;
  const std::vector<std::function<LatencyRun()>> subjects = {
      [&] {
        order += 'A';
        return LatencyRun{.decode_s = static_cast<double>(order.size())};
      },
      [&] {
        order += 'B';
        return LatencyRun{.decode_s = static_cast<double>(order.size())};
      }};
  const auto runs = interleave(subjects, 1, 3);
  EXPECT_EQ(order, "ABABABAB");
  ASSERT_EQ(runs.size(), 2u);
  ASSERT_EQ(runs[0].size(), 3u);
  EXPECT_EQ(runs[0][0].decode_s, 3);
  EXPECT_EQ(runs[1][2].decode_s, 8);
  expect_error(ErrorKind::InvalidArgument, "--repeat 0", [&] { interleave(subjects, 1, 0); });
}

TEST(LatencyProbe, TimesInTheRightOrder) {
  const Model model = tiny_model({.kv_heads = 2});
  const LatencyProbe probe(model, at::kCPU, at::kFloat);
  const LatencyCase setting{.batch = 3, .prompt_tokens = 5, .new_tokens = 4};
  EXPECT_EQ(setting.prefill_total(), 15);
  EXPECT_EQ(setting.decode_total(), 12);
  const LatencyRun run = probe.run(setting, 1);
  EXPECT_GT(run.prefill_s, 0);
  EXPECT_GT(run.first_token_s, run.prefill_s);
  EXPECT_GT(run.decode_s, 0);
}

TEST(LatencyProbe, CountsTheWorkOfACase) {
  // hidden 16, 4 heads of 4, FFN 12, vocabulary 29, 2 layers, untied.
  const LatencyProbe probe(tiny_model({}), at::kCPU, at::kFloat);
  const LatencyWork work = probe.work({.batch = 2, .prompt_tokens = 3, .new_tokens = 2});
  const double layer = 4 * 16 * 16 + 3 * 16 * 12;  // 1600 weights of the matrices
  const double head = 29 * 16;
  // Prompt: queries see 1 + 2 + 3 keys, 2·4·4 MACs each; the head at one place.
  EXPECT_EQ(work.prefill_macs, 2 * (2 * (3 * layer + 32 * 6) + head));
  // Middle of the decoding: 3 + 1 keys.
  EXPECT_EQ(work.step_macs, 2 * (2 * (layer + 32 * 4) + head));
  const double norms = 2 * 2 * 16 + 16;
  EXPECT_EQ(work.step_bytes, 4 * (2 * layer + head + norms) + 2 * (2 * 2 * 16 * 4 * 4));
  EXPECT_EQ(work.kv_bytes, 2 * (2 * 2 * 16 * 5 * 4));
}

TEST(LatencyProbe, PartsOfTheTimeSumToTheWhole) {
  // Large enough for the reading of the clocks to be small beside it.
  const LatencyProbe probe(tiny_model({.hidden = 128, .head_dim = 32, .ffn = 256, .vocab = 200}),
                           at::kCPU, at::kFloat);
  const Breakdown parts = probe.breakdown({.batch = 2, .prompt_tokens = 24, .new_tokens = 4}, 1, 3);
  for (const TimeParts& one : {parts.prefill, parts.decode_step}) {
    for (const double part :
         {one.projections_s, one.attention_s, one.ffn_s, one.head_s, one.rest_s}) {
      EXPECT_GT(part, 0);
    }
    EXPECT_LE(one.sum(), one.whole_s);
    EXPECT_NEAR(one.sum() / one.whole_s, 1, 0.05);
  }
}

TEST(LatencyProbe, RefusesWhatDoesNotFit) {
  const LatencyProbe probe(tiny_model({}), at::kCPU, at::kFloat);  // a context of 64
  EXPECT_NO_THROW(probe.check({.prompt_tokens = 60, .new_tokens = 4}));
  expect_error(ErrorKind::InvalidArgument, "context of 64",
               [&] { probe.run({.prompt_tokens = 60, .new_tokens = 5}, 1); });
  expect_error(ErrorKind::InvalidArgument, "batch 0", [&] { probe.run({.batch = 0}, 1); });
  expect_error(ErrorKind::InvalidArgument, "over 0 runs", [&] { probe.breakdown({}, 1, 0); });
}

}  // namespace
}  // namespace prunus::test::latency_test
