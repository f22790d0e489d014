#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/cli/bench_text.h"
#include "prunus/cli/command.h"
#include "prunus/cli/output_file.h"
#include "prunus/eval/bench_run.h"

namespace prunus::commands {
namespace {

struct Options {
  BenchJob job;
  std::string dtype = "auto";
  std::string out;
  bool force = false;
  CommonOptions common;
  bool json = false;
};

void run(const Options& options) {
  BenchJob job = options.job;
  job.device = start(options.common);
  job.dtype = parse_resident_dtype(options.dtype);
  const OutputFile out{"--out", options.out};
  check_outputs({out}, {job.model_dir, job.other_dir}, options.force);
  const OutputLock lock({out});
  const Json record = run_bench(job);
  if (options.json) {
    print_json(record);
  } else {
    std::cout << bench_text(record) << std::flush;
  }
  write_output(out, record.dump(2) + "\n");
}

void add_case_options(CLI::App& app, Options& options) {
  const CLI::Range positive(int64_t{1}, int64_t{1} << 30);
  app.add_option("--prompt-tokens", options.job.prompt_tokens,
                 "lengths of the prompt, comma-separated")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(positive);
  app.add_option("--batch", options.job.batches, "sequences at once, comma-separated")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(positive);
  app.add_option("--new-tokens", options.job.new_tokens, "decode steps after the first token")
      ->check(positive);
  app.add_option("--repeat", options.job.repeat, "measured runs of each case")->check(positive);
  app.add_option("--warmup", options.job.warmup, "runs of each case before them")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  app.add_option("--seed", options.job.seed, "of the random prompts");
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->job.model_dir, "Hugging Face model directory")->required();
  app.add_option("--vs", options->job.other_dir,
                 "a second model, measured in turn with the first; prints how much faster it is");
  add_case_options(app, *options);
  app.add_option("--dtype", options->dtype,
                 "what weights are held in: float32, file, or auto (float32 on the CPU, as "
                 "generate, the file's elsewhere)");
  app.add_option("--out", options->out, "also write the JSON, a run.json, to this file");
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
