#include "prunus/eval/latency.h"

#include <algorithm>
#include <chrono>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/model/cost.h"
#include "prunus/model/matmul.h"
#include "prunus/model/positions.h"

namespace prunus {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

// The time once everything given to the device is done.
Clock::time_point mark(at::Device device) {
  if (!device.is_cpu()) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeDevice(device.has_index() ? device.index() : guard.getDevice().index());
  }
  return Clock::now();
}

at::Tensor random_prompts(const LatencyCase& setting, int64_t vocab_size, uint64_t seed) {
  PythonRandom random(seed);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < setting.prefill_total(); ++i) {
    ids.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocab_size))));
  }
  return at::tensor(ids, at::kLong).view({setting.batch, setting.prompt_tokens});
}

at::Tensor likeliest(const at::Tensor& logits) { return logits.argmax(-1, /*keepdim=*/true); }

// Gives the time since the last reading of the clock to the part that has just ended.
class PartsHook : public LinearHook {
 public:
  explicit PartsHook(at::Device device) : device_(device) {}

  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) override {
    before(role);
    const at::Tensor y = apply_linear(input, weight, bias);
    after(role);
    return y;
  }
  at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain,
                   const at::Tensor& bias) override {
    const at::Tensor y = LinearHook::scale(role, normalised, gain, bias);
    after(role);
    return y;
  }
  bool only_watches() const override { return true; }
  void before(Role role) override { lap(part_before(role)); }
  void after(Role role) override {
    lap(role == Role::LmHead || bias_of(role) ? part_of(role) : &TimeParts::rest_s);
  }

  void begin(TimeParts& parts) {
    parts_ = &parts;
    last_ = mark(device_);
  }
  void end() { lap(&TimeParts::rest_s); }

 private:
  using Part = double TimeParts::*;

  static Part part_of(Role role) {
    if (role == Role::LmHead) return &TimeParts::head_s;
    const bool ffn = role == Role::GateProj || role == Role::UpProj || role == Role::DownProj;
    return ffn ? &TimeParts::ffn_s : &TimeParts::projections_s;
  }
  // What lies between the operation before and this product. In front of q, gate and the head
  // stands a norm, which has read the clock already.
  static Part part_before(Role role) {
    const Part own = part_of(role);
    return own == &TimeParts::projections_s ? &TimeParts::attention_s : own;
  }
  void lap(Part part) {
    const Clock::time_point now = mark(device_);
    parts_->*part += seconds_between(last_, now);
    last_ = now;
  }

  at::Device device_;
  TimeParts* parts_ = nullptr;
  Clock::time_point last_;
};

TimeParts divided(const TimeParts& parts, double count) {
  return {parts.projections_s / count, parts.attention_s / count, parts.ffn_s / count,
          parts.head_s / count,        parts.rest_s / count,      parts.whole_s / count};
}

// One forward pass and the choice of the next token, timed part by part.
at::Tensor timed_step(const ResidentModel& model, const at::Tensor& ids, int64_t position,
                      std::vector<LayerCache>& cache, TimeParts& parts) {
  PartsHook hook(model.device());
  const Clock::time_point begin = mark(model.device());
  hook.begin(parts);
  const at::Tensor next = likeliest(model.next_logits(ids, position, cache, &hook));
  hook.end();
  parts.whole_s += seconds_between(begin, mark(model.device()));
  return next;
}

Breakdown timed_run(const ResidentModel& model, const LatencyCase& setting,
                    const at::Tensor& prompts) {
  std::vector<LayerCache> cache = model.empty_cache();
  Breakdown run;
  at::Tensor next = timed_step(model, prompts, 0, cache, run.prefill);
  for (int64_t step = 0; step < setting.new_tokens; ++step) {
    next = timed_step(model, next, setting.prompt_tokens + step, cache, run.decode_step);
  }
  run.decode_step = divided(run.decode_step, static_cast<double>(setting.new_tokens));
  return run;
}

TimeParts middle_of(const std::vector<Breakdown>& runs, TimeParts Breakdown::*stage) {
  std::vector<TimeParts> parts;
  for (const Breakdown& run : runs) parts.push_back(run.*stage);
  std::sort(parts.begin(), parts.end(),
            [](const TimeParts& a, const TimeParts& b) { return a.whole_s < b.whole_s; });
  return parts[parts.size() / 2];
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  PRUNUS_CHECK(!values.empty(), InvalidArgument, "the spread of no values");
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

LatencyProbe::LatencyProbe(const Model& model, at::Device device, Residence where)
    : model_(model, device, where) {}

void LatencyProbe::check(const LatencyCase& setting) const {
  PRUNUS_CHECK(setting.batch >= 1 && setting.prompt_tokens >= 1 && setting.new_tokens >= 1,
               InvalidArgument, "a speed measurement with batch ", setting.batch, ", ",
               setting.prompt_tokens, " prompt tokens and ", setting.new_tokens,
               " new tokens; expected 1 or more of each");
  const int64_t context = longest_sequence(model_.config());
  PRUNUS_CHECK(setting.prompt_tokens <= context && setting.new_tokens <= context &&
                   setting.prompt_tokens + setting.new_tokens <= context,
               InvalidArgument, setting.prompt_tokens, " prompt tokens and ", setting.new_tokens,
               " new tokens do not fit in the model's context of ", context,
               "; lower --prompt-tokens or --new-tokens");
}

LatencyRun LatencyProbe::run(const LatencyCase& setting, uint64_t seed) const {
  check(setting);
  const at::NoGradGuard no_grad;
  const at::Tensor prompts = random_prompts(setting, model_.config().vocab_size, seed);
  std::vector<LayerCache> cache = model_.empty_cache();
  const auto begin = mark(model_.device());
  const at::Tensor logits = model_.next_logits(prompts, 0, cache);
  const auto prefilled = mark(model_.device());
  at::Tensor next = likeliest(logits);
  const auto first = mark(model_.device());
  for (int64_t step = 0; step < setting.new_tokens; ++step) {
    next = likeliest(model_.next_logits(next, setting.prompt_tokens + step, cache));
  }
  const auto end = mark(model_.device());
  return {.prefill_s = seconds_between(begin, prefilled),
          .first_token_s = seconds_between(begin, first),
          .decode_s = seconds_between(first, end)};
}

Breakdown LatencyProbe::breakdown(const LatencyCase& setting, uint64_t seed, int64_t runs) const {
  check(setting);
  PRUNUS_CHECK(runs >= 1, InvalidArgument, "a breakdown over ", runs, " runs, expected 1 or more");
  const at::NoGradGuard no_grad;
  const at::Tensor prompts = random_prompts(setting, model_.config().vocab_size, seed);
  timed_run(model_, setting, prompts);
  std::vector<Breakdown> all;
  for (int64_t i = 0; i < runs; ++i) {
    check_interrupted();
    all.push_back(timed_run(model_, setting, prompts));
  }
  return {.prefill = middle_of(all, &Breakdown::prefill),
          .decode_step = middle_of(all, &Breakdown::decode_step)};
}

LatencyWork LatencyProbe::work(const LatencyCase& setting) const {
  const ModelConfig& config = model_.config();
  const auto batch = static_cast<double>(setting.batch);
  const double bits = 8.0 * static_cast<double>(c10::elementSize(model_.residence().kv));
  const int64_t middle = setting.prompt_tokens + (setting.new_tokens + 1) / 2;
  const Macs prompt = count_macs(config, setting.prompt_tokens);
  const Macs one = count_macs(config, 1);
  // The attention of one query that sees `middle` keys.
  const double attention =
      count_macs(config, middle).attention - count_macs(config, middle - 1).attention;
  return {
      .prefill_macs = batch * (prompt.total() - prompt.head + one.head),
      .step_macs = batch * (one.projections + one.ffn + one.head + attention),
      .step_bytes =
          static_cast<double>(model_.step_bytes()) + batch * kv_cache_bytes(config, middle, bits),
      .kv_bytes = batch * kv_cache_bytes(config, setting.prompt_tokens + setting.new_tokens, bits)};
}

std::vector<std::vector<LatencyRun>> interleave(
    std::span<const std::function<LatencyRun()>> subjects, int64_t warmup, int64_t repeat) {
  PRUNUS_CHECK(repeat >= 1 && warmup >= 0, InvalidArgument, "--repeat ", repeat, " and --warmup ",
               warmup, "; expected at least 1 and 0");
  std::vector<std::vector<LatencyRun>> runs(subjects.size());
  Progress progress("bench: rounds", warmup + repeat);
  for (int64_t round = 0; round < warmup + repeat; ++round) {
    for (size_t i = 0; i < subjects.size(); ++i) {
      const LatencyRun run = subjects[i]();
      if (round >= warmup) runs[i].push_back(run);
    }
    progress.step();
  }
  return runs;
}

}  // namespace prunus
