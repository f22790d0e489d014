#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/recover_summary.h"
#include "prunus/recover/recover_table.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<PretrainJob>>(train_table, app);
  add_examples(
      app, {"prunus tokenizer --data stories.jsonl --vocab-size 1024 --out tok",
            "prunus train --config config.json --tokenizer tok --data stories.jsonl --out small"});
  return [command] {
    command->begin();
    print_record(command->program, run_pretrain(command->job), print_recover_summary);
  };
}

}  // namespace

extern const Command train{"train", "Train a small model from scratch", declare};

}  // namespace prunus::commands
