#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/recover_summary.h"
#include "prunus/cli/summary.h"
#include "prunus/pipeline/prune_table.h"
#include "prunus/recover/prune_recover.h"

namespace prunus::commands {
namespace {

struct Pruning {
  explicit Pruning(CLI::App& app) {
    line.add(prune_table, job);
    line.add(recover_after_table, after);
    line.add(program_table, program);
    line.declare(app);
  }
  Pruning(const Pruning&) = delete;
  Pruning& operator=(const Pruning&) = delete;

  PruneJob job = prune_table.fresh();
  RecoverAfter after = recover_after_table.fresh();
  ProgramOptions program;
  CommandLine line{prune_table.command};
};

void run(Pruning& asked) {
  asked.line.fill_jobs();
  start(asked.program);
  if (asked.after.on) {
    print_record(asked.program, run_prune_recover(asked.job, asked.after),
                 print_prune_recover_summary);
  } else {
    print_record(asked.program, run_prune(asked.job), print_prune_summary);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto asked = std::make_shared<Pruning>(app);
  add_examples(app, {"prunus prune MODEL --out SMALLER --ratio 0.25 --calib text.txt",
                     "prunus prune MODEL --out SMALLER --target-params 0.8x --calib text.jsonl "
                     "--taylor vectorize",
                     "prunus prune MODEL --out SMALLER --structure layer --drop-layers 21-24",
                     "prunus prune MODEL --out SMALLER --structure vocab --min-count 1 --calib "
                     "text.txt --calib more.jsonl",
                     "prunus prune MODEL --out SPARSE --method magnitude --pattern 2:4",
                     "prunus prune MODEL --out BETTER --method prunus --ratio 0.5 --calib "
                     "text.jsonl --recover",
                     "prunus prune --config recipe.toml --out OTHER"});
  return [asked] { run(*asked); };
}

}  // namespace

extern const Command prune{
    "prune", "Remove the least important heads, channels, experts, layers, weights or tokens",
    declare};

}  // namespace prunus::commands
