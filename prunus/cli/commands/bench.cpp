#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/memory.h"
#include "prunus/base/named.h"
#include "prunus/cli/bench_text.h"
#include "prunus/cli/command.h"
#include "prunus/cli/output_file.h"
#include "prunus/eval/latency.h"
#include "prunus/model/cost.h"

namespace prunus::commands {
namespace {

struct Options {
  std::string model_dir;
  std::string other_dir;
  std::vector<int64_t> prompt_tokens = {32, 128};
  std::vector<int64_t> batches = {1, 4};
  int64_t new_tokens = 32;
  int64_t repeat = 5;
  int64_t warmup = 1;
  uint64_t seed = 0;
  std::string dtype = "auto";
  std::string out;
  bool force = false;
  CommonOptions common;
  bool json = false;
};

enum class Dtype { Auto, Float32, File };
// Of the breakdown, which needs fewer: a run holds many decode steps, and parts are compared only
// with one another.
constexpr int64_t kBreakdownRuns = 3;

constexpr std::pair<std::string_view, Dtype> kDtypes[] = {
    {"auto", Dtype::Auto}, {"float32", Dtype::Float32}, {"file", Dtype::File}};

// What the weights are held in. BF16 and FP16 products are slow on most CPUs, so FP32 there.
at::ScalarType resident_dtype(const Model& model, Dtype asked, at::Device device) {
  const bool single = asked == Dtype::Float32 || (asked == Dtype::Auto && device.is_cpu());
  return single ? at::kFloat : model.source().dtype(model.tensor(Role::LmHead));
}

std::string dtype_text(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kHalf ? "float16" : "bfloat16";
}

/// One of the models measured.
struct Subject {
  std::string dir;
  Model model;
  LatencyProbe probe;

  Subject(const std::string& path, Dtype dtype, at::Device device)
      : dir(path),
        model(open_model(path)),
        probe(model, device, resident_dtype(model, dtype, device)) {}
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
               const std::vector<LatencyRun>& runs, const Options& options) {
  const LatencyWork work = probe.work(setting);
  const auto prompt = static_cast<double>(setting.prefill_total());
  const auto decoded = static_cast<double>(setting.decode_total());
  const Breakdown parts =
      probe.breakdown(setting, options.seed, std::min(options.repeat, kBreakdownRuns));
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

Json ratios_json(const std::vector<std::unique_ptr<Subject>>& subjects, const LatencyCase& setting,
                 const std::vector<std::vector<LatencyRun>>& runs) {
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

Json subject_json(const Subject& subject) {
  return {{"model", subject.dir},
          {"parameters", subject.model.parameters()},
          {"bytes", subject.model.bytes()},
          {"resident_dtype", dtype_text(subject.probe.model().dtype())},
          {"resident_bytes", subject.probe.model().bytes()},
          {"macs_64_tokens", count_macs(subject.model.config(), 64).total()},
          {"cases", Json::array()}};
}

std::vector<LatencyCase> cases(const Options& options) {
  std::vector<LatencyCase> list;
  for (const int64_t batch : options.batches) {
    for (const int64_t prompt : options.prompt_tokens) {
      list.push_back({.batch = batch, .prompt_tokens = prompt, .new_tokens = options.new_tokens});
    }
  }
  return list;
}

Json report_head(const Options& options) {
  return {{"format", "prunus-bench"},
          {"version", 1},
          {"prunus", PRUNUS_VERSION},
          {"device", options.common.device},
          {"threads", at::get_num_threads()},
          {"options",
           {{"prompt_tokens", options.prompt_tokens},
            {"batch", options.batches},
            {"new_tokens", options.new_tokens},
            {"repeat", options.repeat},
            {"warmup", options.warmup},
            {"seed", options.seed},
            {"dtype", options.dtype}}},
          {"models", Json::array()}};
}

Json measure(const std::vector<std::unique_ptr<Subject>>& subjects, const Options& options,
             at::Device device) {
  Json report = report_head(options);
  std::vector<std::function<LatencyRun()>> turns;
  LatencyCase setting;
  for (const auto& subject : subjects) {
    report["models"].push_back(subject_json(*subject));
    for (const LatencyCase& one : cases(options)) subject->probe.check(one);
    turns.push_back([&] { return subject->probe.run(setting, options.seed); });
  }
  for (const LatencyCase& one : cases(options)) {
    setting = one;
    const auto runs = interleave(turns, options.warmup, options.repeat);
    for (size_t i = 0; i < subjects.size(); ++i) {
      report["models"][i]["cases"].push_back(
          case_json(subjects[i]->probe, setting, runs[i], options));
    }
    if (subjects.size() == 2) report["ratios"].push_back(ratios_json(subjects, setting, runs));
  }
  report["peak_memory_bytes"] = peak_memory_bytes();
  if (const auto peak = peak_device_bytes(device)) report["peak_device_bytes"] = *peak;
  return report;
}

void run(const Options& options) {
  const at::Device device = start(options.common);
  const Dtype dtype = parse_named(kDtypes, options.dtype, "--dtype");
  const OutputFile out{"--out", options.out};
  check_outputs({out}, {options.model_dir, options.other_dir}, options.force);
  const OutputLock lock({out});
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const std::string& dir : {options.model_dir, options.other_dir}) {
    if (!dir.empty()) subjects.push_back(std::make_unique<Subject>(dir, dtype, device));
  }
  const Json report = measure(subjects, options, device);
  if (options.json) {
    print_json(report);
  } else {
    std::cout << bench_text(report) << std::flush;
  }
  write_output(out, report.dump(2) + "\n");
}

void add_case_options(CLI::App& app, Options& options) {
  const CLI::Range positive(int64_t{1}, int64_t{1} << 30);
  app.add_option("--prompt-tokens", options.prompt_tokens, "lengths of the prompt, comma-separated")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(positive);
  app.add_option("--batch", options.batches, "sequences at once, comma-separated")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(positive);
  app.add_option("--new-tokens", options.new_tokens, "decode steps after the first token")
      ->check(positive);
  app.add_option("--repeat", options.repeat, "measured runs of each case")->check(positive);
  app.add_option("--warmup", options.warmup, "runs of each case before them")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  app.add_option("--seed", options.seed, "of the random prompts");
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model_dir, "Hugging Face model directory")->required();
  app.add_option("--vs", options->other_dir,
                 "a second model, measured in turn with the first; prints how much faster it is");
  add_case_options(app, *options);
  app.add_option("--dtype", options->dtype,
                 "what weights are held in: float32, file, or auto (float32 on the CPU, as "
                 "generate, the file's elsewhere)");
  app.add_option("--out", options->out, "also write the JSON to this file");
  app.add_flag("--force", options->force, "replace what stands at --out");
  app.add_flag("--json", options->json, "print JSON to stdout");
  add_common_options(app, options->common);
  add_examples(
      app, {"prunus bench MODEL",
            "prunus bench MODEL --vs SMALLER --prompt-tokens 128,512 --batch 1 --out bench.json",
            "prunus bench MODEL --device cuda --dtype file --repeat 20"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command bench{"bench", "Measure speed and memory, of one model or two in turn",
                           declare};

}  // namespace prunus::commands
