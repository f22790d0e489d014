#include "prunus/eval/bench_run.h"

#include <algorithm>
#include <functional>
#include <memory>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/run_schema.h"
#include "prunus/eval/eval_table.h"
#include "prunus/eval/latency.h"
#include "prunus/job/last_words.h"
#include "prunus/job/run_record.h"
#include "prunus/model/cost.h"

namespace prunus {
namespace {

using namespace run_key;

// Of the breakdown, which needs fewer: a run holds many decode steps, and parts are compared only
// with one another.
constexpr int64_t kBreakdownRuns = 3;

// One of the models measured.
struct BenchedModel {
  std::string dir;
  std::string name;  // as asked for
  Model model;
  LatencyProbe probe;

  BenchedModel(const std::string& path, const BenchJob& job)
      : dir(path),
        name(path),
        model(open_model(path)),
        probe(model, job.device, residence(model, job.dtype, job.kv_dtype, job.device)) {}
};

Json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

// Of a figure of every run.
template <typename Figure>
Json spread_json(const std::vector<LatencyRun>& runs, Figure figure) {
  std::vector<double> values;
  for (const LatencyRun& run : runs) values.push_back(figure(run));
  return to_json(spread_of(values));
}

Json to_json(const TimeParts& parts) {
  return {{"projections_ms", 1e3 * parts.projections_s},
          {"attention_ms", 1e3 * parts.attention_s},
          {"ffn_ms", 1e3 * parts.ffn_s},
          {"head_ms", 1e3 * parts.head_s},
          {"rest_ms", 1e3 * parts.rest_s},
          {"whole_ms", 1e3 * parts.whole_s}};
}

Json case_json(const LatencyProbe& probe, const LatencyCase& setting,
               const std::vector<LatencyRun>& runs, const BenchJob& job) {
  const LatencyWork work = probe.work(setting);
  const auto prompt = static_cast<double>(setting.prefill_total());
  const auto decoded = static_cast<double>(setting.decode_total());
  const Breakdown parts = probe.breakdown(setting, job.seed, std::min(job.repeat, kBreakdownRuns));
  return {{"batch", setting.batch},
          {"prompt_tokens", setting.prompt_tokens},
          {"new_tokens", setting.new_tokens},
          {"decode_tokens", setting.decode_total()},
          {"prefill_macs", work.prefill_macs},
          {"step_macs", work.step_macs},
          {"step_bytes", work.step_bytes},
          {"kv_bytes", work.kv_bytes},
          {"prefill_tokens_per_second",
           spread_json(runs, [&](const LatencyRun& run) { return prompt / run.prefill_s; })},
          {"first_token_ms",
           spread_json(runs, [](const LatencyRun& run) { return 1e3 * run.first_token_s; })},
          {"decode_tokens_per_second",
           spread_json(runs, [&](const LatencyRun& run) { return decoded / run.decode_s; })},
          {"breakdown",
           {{"prefill", to_json(parts.prefill)}, {"decode_step", to_json(parts.decode_step)}}}};
}

// Round by round, so that what slows both models down leaves the ratio as it is.
Json ratio_json(const std::vector<LatencyRun>& first, const std::vector<LatencyRun>& second,
                double LatencyRun::*time) {
  std::vector<double> ratios;
  for (size_t i = 0; i < first.size(); ++i) ratios.push_back(first[i].*time / (second[i].*time));
  return to_json(spread_of(ratios));
}

Json ratios_json(const std::vector<std::unique_ptr<BenchedModel>>& subjects,
                 const LatencyCase& setting, const std::vector<std::vector<LatencyRun>>& runs) {
  const LatencyWork one = subjects[0]->probe.work(setting);
  const LatencyWork two = subjects[1]->probe.work(setting);
  Json json = {{"batch", setting.batch},
               {"prompt_tokens", setting.prompt_tokens},
               {"new_tokens", setting.new_tokens},
               {"prefill", ratio_json(runs[0], runs[1], &LatencyRun::prefill_s)},
               {"first_token", ratio_json(runs[0], runs[1], &LatencyRun::first_token_s)},
               {"decode", ratio_json(runs[0], runs[1], &LatencyRun::decode_s)}};
  json["prefill"]["ideal_macs"] = one.prefill_macs / two.prefill_macs;
  json["decode"]["ideal_bytes"] = one.step_bytes / two.step_bytes;
  json["decode"]["ideal_macs"] = one.step_macs / two.step_macs;
  return json;
}

Json subject_json(const BenchedModel& subject) {
  return {{kModel, subject.name},
          {kParameters, subject.model.parameters()},
          {kBytes, subject.model.bytes()},
          {"resident_dtype", subject.probe.model().dtype_text()},
          {"resident_bytes", subject.probe.model().bytes()},
          {kMacs, count_macs(subject.model.config(), 64).total()},
          {kCases, Json::array()}};
}

std::vector<LatencyCase> cases(const BenchJob& job) {
  std::vector<LatencyCase> list;
  for (const int64_t batch : job.batches) {
    for (const int64_t prompt : job.prompt_tokens) {
      list.push_back({.batch = batch, .prompt_tokens = prompt, .new_tokens = job.new_tokens});
    }
  }
  return list;
}

using BenchedModels = std::vector<std::unique_ptr<BenchedModel>>;

BenchedModels open_all(const BenchJob& job) {
  BenchedModels subjects;
  for (const auto& [dir, asked] :
       {std::pair(job.model_dir, job.model_asked), std::pair(job.other_dir, job.other_asked)}) {
    if (dir.empty()) continue;
    subjects.push_back(std::make_unique<BenchedModel>(dir, job));
    if (!asked.empty()) subjects.back()->name = asked;
  }
  for (const auto& subject : subjects) {
    for (const LatencyCase& one : cases(job)) subject->probe.check(one);
  }
  return subjects;
}

// Fills in the cases of `models`. → the ratios of two models, an empty list of one.
Json measure(const BenchedModels& subjects, const BenchJob& job, Json& models) {
  std::vector<std::function<LatencyRun()>> turns;
  LatencyCase setting;
  for (const auto& subject : subjects) {
    turns.push_back([&] { return subject->probe.run(setting, job.seed); });
  }
  Json ratios = Json::array();
  for (const LatencyCase& one : cases(job)) {
    setting = one;
    const auto runs = interleave(turns, job.warmup, job.repeat);
    for (size_t i = 0; i < subjects.size(); ++i) {
      models[i][kCases].push_back(case_json(subjects[i]->probe, setting, runs[i], job));
    }
    if (subjects.size() == 2) ratios.push_back(ratios_json(subjects, setting, runs));
  }
  return ratios;
}

Json bench(const BenchJob& job) {
  RunRecord record("bench", options_json(recorded(bench_table, job)));
  record.set_places({{"model", job.model_dir}, {"vs", job.other_dir}});
  record.set(kDevice, job.device.str());
  const BenchedModels subjects = record.stage("open", [&] { return open_all(job); });
  Json models = Json::array();
  for (const auto& subject : subjects) models.push_back(subject_json(*subject));
  const Json ratios = record.stage("measure", [&] { return measure(subjects, job, models); });
  record.stage("hash", [&] {
    for (size_t i = 0; i < subjects.size(); ++i) {
      models[i][kSourceFiles] = hash_model_files(subjects[i]->dir);
    }
  });
  record.set(kModels, models);
  if (!ratios.empty()) record.set(kRatios, ratios);
  if (const auto on_device = peak_device_bytes(job.device)) {
    record.set(kPeakDeviceBytes, *on_device);
  }
  return record.json();
}

}  // namespace

Json run_bench(const BenchJob& job) {
  return with_last_words([] { return std::string(); }, [&] { return bench(job); });
}

}  // namespace prunus
