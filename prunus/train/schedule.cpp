#include "prunus/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, ScheduleKind> kScheduleNames[] = {
    {"constant", ScheduleKind::Constant},
    {"linear", ScheduleKind::Linear},
    {"cosine", ScheduleKind::Cosine},
    {"wsd", ScheduleKind::Wsd},
};

void check(const ScheduleOptions& options, int64_t step) {
  PRUNUS_CHECK(std::isfinite(options.lr) && options.lr > 0, InvalidArgument,
               "schedule: the learning rate is ", options.lr, ", expected a number above 0");
  PRUNUS_CHECK(options.warmup_steps >= 0, InvalidArgument, "schedule: ", options.warmup_steps,
               " warm-up steps, expected 0 or more");
  PRUNUS_CHECK(options.total_steps >= 1, InvalidArgument, "schedule: ", options.total_steps,
               " steps, expected at least 1");
  PRUNUS_CHECK(options.final_fraction >= 0 && options.final_fraction <= 1, InvalidArgument,
               "schedule: the final fraction is ", options.final_fraction, ", expected [0, 1]");
  PRUNUS_CHECK(options.decay_fraction > 0 && options.decay_fraction <= 1, InvalidArgument,
               "schedule: the decay fraction is ", options.decay_fraction, ", expected (0, 1]");
  PRUNUS_CHECK(step >= 0 && step < options.total_steps, InvalidArgument, "schedule: step ", step,
               " is not within the run's ", options.total_steps, " steps");
}

// Share of the peak after warm-up; `done` of `steps` steps that go down are behind.
double straight_down(double done, double steps, double final_fraction) {
  return 1 - done / steps * (1 - final_fraction);
}

double share_of_peak(const ScheduleOptions& options, int64_t step, int64_t warmup) {
  const auto done = static_cast<double>(step - warmup);
  const auto steps = static_cast<double>(options.total_steps - warmup);
  const double floor = options.final_fraction;
  switch (options.kind) {
    case ScheduleKind::Constant:
      return 1;
    case ScheduleKind::Linear:
      return straight_down(done, steps, floor);
    case ScheduleKind::Cosine:
      return floor + (1 - floor) * (1 + std::cos(std::numbers::pi * done / steps)) / 2;
    case ScheduleKind::Wsd: {
      // A warm-up that reaches into the decay shortens it.
      const double falling =
          std::min(options.decay_fraction * static_cast<double>(options.total_steps), steps);
      const double fallen = done - (steps - falling);
      return fallen <= 0 ? 1 : straight_down(fallen, falling, floor);
    }
  }
  PRUNUS_FAIL(InvalidArgument, "schedule: unknown kind ", static_cast<int>(options.kind));
}

}  // namespace

ScheduleKind parse_schedule(std::string_view name) {
  return parse_named(kScheduleNames, name, "--schedule");
}

std::string_view schedule_name(ScheduleKind kind) { return name_of(kScheduleNames, kind); }

double learning_rate(const ScheduleOptions& options, int64_t step) {
  check(options, step);
  const int64_t warmup = std::min(options.warmup_steps, options.total_steps);
  if (step < warmup) {
    return options.lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  }
  return options.lr * share_of_peak(options, step, warmup);
}

}  // namespace prunus
