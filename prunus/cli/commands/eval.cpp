#include <cstdio>
#include <filesystem>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/memory.h"
#include "prunus/cli/command.h"
#include "prunus/cli/eval_text.h"
#include "prunus/cli/output_file.h"
#include "prunus/eval/run.h"

namespace prunus::commands {
namespace {

namespace fs = std::filesystem;

struct Options {
  EvalJob job;
  std::string protocol = "paper";
  int64_t seqlen = 0;
  std::string out;
  std::string samples;
  bool resume = false;
  bool force = false;
  CommonOptions common;
  bool json = false;
};

std::string work_file(const Options& options) { return options.out + ".work"; }

EvalJob job_of(const Options& options) {
  PRUNUS_CHECK(!options.resume || !options.out.empty(), InvalidArgument,
               "--resume needs --out: what is finished is kept beside that file");
  EvalJob job = options.job;
  job.protocol.rule = parse_perplexity_rule(options.protocol);
  if (options.seqlen > 0) job.protocol.seqlen = options.seqlen;
  if (!options.out.empty()) job.tasks.score.journal = work_file(options);
  return job;
}

// What stands is not overwritten, and the state of another run not thrown away, without a word.
void check_out(const Options& options, const EvalJob& job) {
  const OutputFile cache{"--kl-cache", job.divergence.cache};
  check_outputs({{"--out", options.out}, {"--samples", options.samples}}, inputs_of(job),
                options.force);
  check_outputs({{"--out", options.out}, {"--samples", options.samples}, cache}, inputs_of(job),
                true);
  PRUNUS_CHECK(options.samples.empty() || !job.tasks.names.empty(), InvalidArgument,
               "--samples is for --tasks");
}

void check_state(const Options& options) {
  if (options.out.empty() || !fs::exists(work_file(options)) || options.resume) return;
  PRUNUS_CHECK(options.force, InvalidArgument, work_file(options),
               ": is the state of an interrupted run; --resume goes on, --force begins anew");
  fs::remove(work_file(options));
}

// malloc's settings are the whole process's, so the program's to choose and not the library's.
void settle_malloc(bool tasks_begin) {
  if (tasks_begin) {
    keep_large_blocks();  // batches of ever other sizes
  } else {
    return_large_blocks();
  }
}

void run(const Options& options) {
  EvalJob job = job_of(options);
  check_job(job);
  check_out(options, job);
  const OutputLock lock({{"--samples", options.samples}, {"--out", options.out}});
  check_state(options);
  std::string samples;
  if (!options.samples.empty()) job.tasks.samples = &samples;
  job.device = start(options.common);
  if (job.device.is_cpu()) job.around_tasks = settle_malloc;
  const Json json = run_eval(job);
  if (options.json) {
    print_json(json);
  } else {
    print_evaluation(json);
    std::fflush(stdout);
  }
  // Behind the figures, which are not lost where a file cannot be written.
  write_output({"--samples", options.samples}, samples);
  write_output({"--out", options.out}, json.dump(2) + '\n');
  if (!options.out.empty()) fs::remove(work_file(options));
}

void declare_perplexity(CLI::App& app, Options& options) {
  const char* group = "Perplexity";
  app.add_option("--ppl", options.job.texts,
                 "text to measure perplexity on (repeatable): a file (also .gz, .zst), or "
                 "wikitext2@N, ptb@N, c4@N "
                 "for chunks of N tokens, looked up in --text-dir or given as wikitext2@N=FILE")
      ->group(group);
  app.add_option("--protocol", options.protocol,
                 "paper (one BOS, tokenised once, cut into chunks, remainder dropped; jsonl files "
                 "document by document), llm-pruner (its way to join PTB), or lm-eval-word (whole "
                 "documents in rolling windows: word and byte perplexity)")
      ->group(group);
  app.add_option("--seqlen", options.seqlen,
                 "tokens per chunk (128), or longest document or window (the context); "
                 "perplexities at different lengths cannot be compared")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40))
      ->always_capture_default(false)
      ->group(group);
  app.add_option("--text-dir", options.job.protocol.text_dir,
                 "folder of the texts that have a name")
      ->group(group);
}

void declare_tasks(CLI::App& app, Options& options) {
  const char* group = "Zero-shot tasks";
  app.add_option("--tasks", options.job.tasks.names,
                 "boolq,piqa,...; all (every task whose file is there); or llm-pruner-table")
      ->delimiter(',')
      ->group(group);
  app.add_option("--task-dir", options.job.tasks.dir, "folder of the tasks' files")->group(group);
  app.add_option("--max-length", options.job.tasks.score.max_length,
                 "tasks: ids of context and continuation looked at, the last ones; 0: as many as "
                 "the model's context")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--limit", options.job.tasks.limit, "only the first items of each task; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--few-shot", options.job.tasks.few_shot,
                 "examples before each question (the task's)")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--seed", options.job.tasks.seed, "of the examples")->group(group);
  app.add_option("--samples", options.samples, "write every item's scores as jsonl")->group(group);
  app.add_option("--relative-to", options.job.relative_to,
                 "JSON of the unpruned model's evaluation: print figures as fractions of its")
      ->group(group);
}

void declare_divergence(CLI::App& app, Options& options) {
  const char* group = "Divergence from the unpruned model";
  app.add_option("--kl-to", options.job.dense_dir,
                 "the unpruned model: measure KL(it || MODEL) and how often the likeliest token "
                 "is the same")
      ->group(group);
  app.add_option("--text", options.job.kl_text, "text to measure it on, as for --ppl")
      ->group(group);
  app.add_option("--kl-top-k", options.job.divergence.top_k,
                 "tokens of its distribution that are told apart; the rest is one bucket")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->group(group);
  app.add_option("--kl-cache", options.job.divergence.cache,
                 "file to keep its distribution in, for the next model")
      ->group(group);
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->job.model_dir, "Hugging Face model directory")->required();
  declare_perplexity(app, *options);
  declare_tasks(app, *options);
  declare_divergence(app, *options);
  app.add_option("--out", options->out, "write the JSON, a run.json, to this file, too");
  app.add_flag("--resume", options->resume,
               "go on where an interrupted run with this --out stopped");
  app.add_flag("--force", options->force, "replace what stands at --out");
  app.add_flag("--json", options->json, "print JSON to stdout");
  add_common_options(app, options->common);
  add_examples(
      app,
      {"prunus eval MODEL --ppl wikitext2@128 --ppl ptb@128 --text-dir TEXTS",
       "prunus eval SMALLER --tasks llm-pruner-table --task-dir TASKS --relative-to dense.json",
       "prunus eval SMALLER --kl-to MODEL --text valid.txt"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command eval{"eval", "Measure perplexity, zero-shot tasks, divergence", declare};

}  // namespace prunus::commands
