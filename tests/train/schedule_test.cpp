#include "prunus/train/schedule.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace prunus::test::schedule_test {
namespace {

void expect_rates(const ScheduleOptions& options, const std::vector<double>& expected) {
  ASSERT_EQ(static_cast<int64_t>(expected.size()), options.total_steps);
  for (size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(learning_rate(options, static_cast<int64_t>(step)), expected[step], 1e-12) << step;
  }
}

TEST(Schedule, ConstantStaysAtThePeakAfterWarmUp) {
  expect_rates({.kind = ScheduleKind::Constant, .lr = 0.8, .warmup_steps = 4, .total_steps = 6},
               {0.2, 0.4, 0.6, 0.8, 0.8, 0.8});
}

TEST(Schedule, LinearWouldReachTheFinalRateAfterTheLastStep) {
  expect_rates({.kind = ScheduleKind::Linear, .lr = 1, .warmup_steps = 2, .total_steps = 6},
               {0.5, 1, 1, 0.75, 0.5, 0.25});
  expect_rates({.kind = ScheduleKind::Linear, .lr = 2, .total_steps = 4, .final_fraction = 0.2},
               {2, 1.6, 1.2, 0.8});
}

TEST(Schedule, CosineIsHalfwayInTheMiddle) {
  // (1 + cos(π/4))/2 = 0.85355339059…
  expect_rates({.kind = ScheduleKind::Cosine, .lr = 1, .total_steps = 4},
               {1, 0.853553390593274, 0.5, 0.146446609406726});
  expect_rates({.kind = ScheduleKind::Cosine,
                .lr = 1,
                .warmup_steps = 1,
                .total_steps = 3,
                .final_fraction = 0.1},
               {1, 1, 0.55});
}

TEST(Schedule, WsdFallsInTheLastPartOnly) {
  expect_rates({.kind = ScheduleKind::Wsd,
                .lr = 1,
                .warmup_steps = 2,
                .total_steps = 10,
                .decay_fraction = 0.4},
               {0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25});
}

TEST(Schedule, WsdWhoseWarmUpReachesIntoTheDecayFallsFromThePeak) {
  expect_rates({.kind = ScheduleKind::Wsd,
                .lr = 1,
                .warmup_steps = 3,
                .total_steps = 5,
                .decay_fraction = 1},
               {1.0 / 3, 2.0 / 3, 1, 1, 0.5});
}

TEST(Schedule, WarmUpLongerThanTheRunEndsAtThePeak) {
  for (const auto kind :
       {ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Wsd}) {
    expect_rates({.kind = kind, .lr = 1, .warmup_steps = 100, .total_steps = 2}, {0.5, 1});
  }
}

void expect_refused(const std::string& part, const ScheduleOptions& options, int64_t step = 0) {
  expect_error(ErrorKind::InvalidArgument, part, [&] { learning_rate(options, step); });
}

TEST(Schedule, RefusesOptionsAndStepsOutOfRange) {
  expect_refused("rate is 0", {.lr = 0});
  expect_refused("rate is inf", {.lr = std::numeric_limits<double>::infinity()});
  expect_refused("-1 warm-up steps", {.warmup_steps = -1});
  expect_refused("0 steps", {.total_steps = 0});
  expect_refused("final fraction is 1.5", {.final_fraction = 1.5});
  expect_refused("final fraction is nan", {.final_fraction = std::nan("")});
  expect_refused("decay fraction is 0", {.decay_fraction = 0});
  expect_refused("decay fraction is 2", {.decay_fraction = 2});
  expect_refused("step -1", {.total_steps = 5}, -1);
  expect_refused("step 5 is not within the run's 5 steps", {.total_steps = 5}, 5);
}

TEST(Schedule, IsNamedOnTheCommandLine) {
  for (const auto kind :
       {ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Wsd}) {
    EXPECT_EQ(parse_schedule(schedule_name(kind)), kind);
  }
  EXPECT_EQ(parse_schedule("wsd"), ScheduleKind::Wsd);
  expect_error(ErrorKind::InvalidArgument,
               "--schedule 'step' is not known; known: constant, linear, cosine, wsd",
               [] { parse_schedule("step"); });
}

}  // namespace
}  // namespace prunus::test::schedule_test
