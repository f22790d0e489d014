#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/bench_text.h"
#include "prunus/cli/command_line.h"
#include "prunus/cli/output_file.h"
#include "prunus/cli/record_output.h"
#include "prunus/eval/eval_table.h"

namespace prunus::commands {
namespace {

struct Measurement {
  explicit Measurement(CLI::App& app) {
    line.add(bench_table, job);
    line.add(bench_output_table, output);
    line.add(program_table, program);
    line.declare(app);
  }
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  BenchJob job = bench_table.fresh();
  RecordOutput output = {};
  ProgramOptions program;
  CommandLine line{bench_table.command};
};

void run(Measurement& asked) {
  asked.line.fill_jobs();
  start(asked.program);
  const OutputFile out{"--out", asked.output.out};
  check_outputs({out}, {asked.job.model_dir, asked.job.other_dir}, asked.output.force);
  const OutputLock lock({out});
  const Json record = run_bench(asked.job);
  print_record(asked.program, record,
               [](const Json& measured) { std::cout << bench_text(measured) << std::flush; });
  write_output(out, record.dump(2) + "\n");
}

std::function<void()> declare(CLI::App& app) {
  auto asked = std::make_shared<Measurement>(app);
  add_examples(
      app, {"prunus bench MODEL",
            "prunus bench MODEL --vs SMALLER --prompt-tokens 128,512 --batch 1 --out bench.json",
            "prunus bench MODEL --device cuda --dtype file --repeat 20"});
  return [asked] { run(*asked); };
}

}  // namespace

extern const Command bench{"bench", "Measure speed and memory, of one model or two in turn",
                           declare};

}  // namespace prunus::commands
