#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/recover_summary.h"
#include "prunus/recover/recover_table.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<MergeJob>>(merge_table, app);
  add_examples(app, {"prunus merge MODEL --adapter ADAPTER --out MERGED",
                     "prunus recover MODEL --out ADAPTER --data text.jsonl --adapter-only"});
  return [command] {
    command->begin();
    print_record(command->program, run_merge(command->job), print_recover_summary);
  };
}

}  // namespace

extern const Command merge{"merge", "Merge a LoRA adapter into its model", declare};

}  // namespace prunus::commands
