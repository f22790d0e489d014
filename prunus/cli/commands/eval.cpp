#include <cstdio>
#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/memory.h"
#include "prunus/cli/command_line.h"
#include "prunus/cli/eval_text.h"
#include "prunus/cli/output_file.h"
#include "prunus/cli/record_output.h"
#include "prunus/eval/eval_table.h"

namespace prunus::commands {
namespace {

namespace fs = std::filesystem;

struct Evaluation {
  explicit Evaluation(CLI::App& app) {
    line.add(eval_table, job);
    line.add(eval_output_table, output);
    line.add(program_table, program);
    line.declare(app);
  }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

  EvalJob job = eval_table.fresh();
  RecordOutput output = {};
  ProgramOptions program;
  CommandLine line{eval_table.command};
};

std::string work_file(const RecordOutput& output) { return output.out + ".work"; }

EvalJob job_of(const Evaluation& asked) {
  const RecordOutput& output = asked.output;
  PRUNUS_CHECK(!output.resume || !output.out.empty(), InvalidArgument,
               "--resume needs --out: what is finished is kept beside that file");
  EvalJob job = asked.job;
  if (!output.out.empty()) job.tasks.score.journal = work_file(output);
  return job;
}

// What stands is not overwritten, and the state of another run not thrown away, without a word.
void check_out(const RecordOutput& options, const EvalJob& job) {
  const OutputFile cache{"--kl-cache", job.divergence.cache};
  check_outputs({{"--out", options.out}, {"--samples", options.samples}}, inputs_of(job),
                options.force);
  check_outputs({{"--out", options.out}, {"--samples", options.samples}, cache}, inputs_of(job),
                true);
  PRUNUS_CHECK(options.samples.empty() || !job.tasks.names.empty(), InvalidArgument,
               "--samples is for --tasks");
}

void check_state(const RecordOutput& options) {
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

void run(Evaluation& asked) {
  asked.line.fill_jobs();
  const RecordOutput& output = asked.output;
  EvalJob job = job_of(asked);
  check_job(job);
  check_out(output, job);
  const OutputLock lock({{"--samples", output.samples}, {"--out", output.out}});
  check_state(output);
  std::string samples;
  if (!output.samples.empty()) job.tasks.samples = &samples;
  start(asked.program);
  if (job.device.is_cpu()) job.around_tasks = settle_malloc;
  const Json json = run_eval(job);
  print_record(asked.program, json, [](const Json& record) {
    print_evaluation(record);
    std::fflush(stdout);
  });
  // Behind the figures, which are not lost where a file cannot be written.
  write_output({"--samples", output.samples}, samples);
  write_output({"--out", output.out}, json.dump(2) + '\n');
  if (!output.out.empty()) fs::remove(work_file(output));
}

std::function<void()> declare(CLI::App& app) {
  auto asked = std::make_shared<Evaluation>(app);
  add_examples(
      app,
      {"prunus eval MODEL --ppl wikitext2@128 --ppl ptb@128 --text-dir TEXTS",
       "prunus eval SMALLER --tasks llm-pruner-table --task-dir TASKS --relative-to dense.json",
       "prunus eval SMALLER --kl-to MODEL --text valid.txt"});
  return [asked] { run(*asked); };
}

}  // namespace

extern const Command eval{"eval", "Measure perplexity, zero-shot tasks, divergence", declare};

}  // namespace prunus::commands
