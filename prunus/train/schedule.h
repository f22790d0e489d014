#pragma once
#include <cstdint>
#include <string_view>

namespace prunus {

/// How the learning rate moves through a run.
enum class ScheduleKind {
  Constant,
  Linear,  ///< straight down to the final rate
  Cosine,  ///< half a cosine down to the final rate
  Wsd,     ///< warm-up, stable, decay: flat, then straight down in the last part
};

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::Cosine;
  double lr = 1e-4;             ///< peak, > 0
  int64_t warmup_steps = 0;     ///< ≥ 0; straight up to the peak
  int64_t total_steps = 1;      ///< ≥ 1
  double final_fraction = 0.0;  ///< rate after the last step / peak, [0, 1]
  double decay_fraction = 0.2;  ///< Wsd: share of the steps that decay, (0, 1]
};

/// "constant", "linear", "cosine", "wsd". Throws InvalidArgument naming the known names.
ScheduleKind parse_schedule(std::string_view name);
std::string_view schedule_name(ScheduleKind kind);

/// Learning rate of step `step`, counted from 0. With w = min(warmup_steps, total_steps), in steps
/// 0 … w−1: lr·(step + 1)/w. Afterwards with t = (step − w)/(total_steps − w) in [0, 1):
/// Linear: lr·(1 − t·(1 − f)); Cosine: lr·(f + (1 − f)·(1 + cos πt)/2); Wsd: lr until the last
/// decay_fraction·total_steps steps, in these Linear. f = final_fraction.
/// Differs from transformers' schedules, whose warm-up begins with a step at rate 0.
/// Throws InvalidArgument for options or a step out of range.
double learning_rate(const ScheduleOptions& options, int64_t step);

}  // namespace prunus
