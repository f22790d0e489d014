#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/summary.h"
#include "prunus/pipeline/prune_table.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<PruneJob>>(prune_table, app);
  add_examples(app, {"prunus prune MODEL --out SMALLER --ratio 0.25 --calib text.txt",
                     "prunus prune MODEL --out SMALLER --target-params 0.8x --calib text.jsonl "
                     "--taylor vectorize",
                     "prunus prune MODEL --out SMALLER --structure layer --drop-layers 21-24",
                     "prunus prune MODEL --out SMALLER --structure vocab --min-count 1 --calib "
                     "text.txt --calib more.jsonl",
                     "prunus prune MODEL --out SPARSE --method magnitude --pattern 2:4",
                     "prunus prune --config recipe.toml --out OTHER"});
  return [command] {
    command->begin();
    print_record(command->program, run_prune(command->job), print_prune_summary);
  };
}

}  // namespace

extern const Command prune{
    "prune", "Remove the least important heads, channels, experts, layers, weights or tokens",
    declare};

}  // namespace prunus::commands
