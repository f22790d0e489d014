#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/recover_summary.h"
#include "prunus/recover/recover_table.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<RecoverJob>>(recover_table, app);
  add_examples(
      app, {"prunus recover SMALLER --out BETTER --data text.jsonl",
            "prunus recover SMALLER --out BETTER --data text.jsonl --teacher DENSE --full",
            "prunus recover SMALLER --out REPAIRED --data text.jsonl --teacher DENSE --sub-block"});
  return [command] {
    command->begin();
    print_record(command->program, run_recover(command->job), print_recover_summary);
  };
}

}  // namespace

extern const Command recover{"recover", "Bring back quality: adapters, distillation, repair",
                             declare};

}  // namespace prunus::commands
