#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "prunus/model/model.h"
#include "prunus/model/resident_model.h"

namespace prunus {

/// What one run decodes: `batch` prompts of equal length, then `new_tokens` steps, each of which
/// feeds one token per sequence and predicts the next.
struct LatencyCase {
  int64_t batch = 1;           ///< ≥ 1
  int64_t prompt_tokens = 32;  ///< per sequence, ≥ 1
  int64_t new_tokens = 32;     ///< decode steps after the first token, ≥ 1
  int64_t prefill_total() const { return batch * prompt_tokens; }
  int64_t decode_total() const { return batch * new_tokens; }
};

/// Wall-clock seconds of one run, the device synchronised at every mark.
struct LatencyRun {
  double prefill_s = 0;      ///< the prompts → logits of their last places
  double first_token_s = 0;  ///< the same, and the choice of the first token
  double decode_s = 0;       ///< all the steps after it
};

struct Spread {
  double median = 0;  ///< of an even number of values: the mean of the middle two
  double min = 0;
  double max = 0;
};
/// Throws InvalidArgument where there are no values.
Spread spread_of(std::vector<double> values);

/// Seconds by kind of operation; sum() of them is `whole_s` but for the reading of the clock.
struct TimeParts {
  double projections_s = 0;  ///< q, k, v, o
  double attention_s = 0;    ///< q/k norms, rotation, cache, scores and mixing
  double ffn_s = 0;          ///< gate, up, down, activation
  double head_s = 0;
  double rest_s = 0;   ///< embedding, norms, residual sums, choice of the token
  double whole_s = 0;  ///< by a clock of its own, around everything
  double sum() const { return projections_s + attention_s + ffn_s + head_s + rest_s; }
};

/// Of the decode step: the mean over the steps of a run.
struct Breakdown {
  TimeParts prefill;
  TimeParts decode_step;
};

/// What a case asks of the machine, from sizes alone: the ideal to hold against measured speed.
struct LatencyWork {
  double prefill_macs = 0;  ///< count_macs of the prompts, the head at their last places only
  double step_macs = 0;     ///< one decode step of the whole batch, in the middle of the decoding
  double step_bytes = 0;    ///< read by that step: weights, and keys and values of every sequence
  double kv_bytes = 0;      ///< keys and values of the whole batch at the end
};

/// One model held in memory, timed at greedy decoding of random prompts. End-of-text tokens are
/// ignored, so that every run does the same work.
class LatencyProbe {
 public:
  /// Throws as ResidentModel.
  LatencyProbe(const Model& model, at::Device device, Residence where);

  /// Throws InvalidArgument: a number below 1, or prompt and new tokens beyond the context.
  void check(const LatencyCase& setting) const;
  /// Throws as check.
  LatencyRun run(const LatencyCase& setting, uint64_t seed) const;
  /// The same work with a clock read around every operation, which on a GPU waits for each of them:
  /// so the whole may take longer than in run(). Of `runs` ≥ 1, behind one that warms up, the one
  /// whose whole is in the middle, chosen for each stage: its parts still sum to its whole, and a
  /// run that something disturbed is left out. Throws as check; InvalidArgument where runs < 1.
  Breakdown breakdown(const LatencyCase& setting, uint64_t seed, int64_t runs) const;
  LatencyWork work(const LatencyCase& setting) const;
  const ResidentModel& model() const { return model_; }

 private:
  ResidentModel model_;
};

/// Round after round, one run of each subject in turn (A B A B …), so that what changes on the
/// machine meets all of them alike. The first `warmup` rounds are dropped.
/// → [subject][round]. Shows progress. Throws Interrupted, InvalidArgument where repeat < 1.
std::vector<std::vector<LatencyRun>> interleave(
    std::span<const std::function<LatencyRun()>> subjects, int64_t warmup, int64_t repeat);

}  // namespace prunus
