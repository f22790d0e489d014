#include "prunus/job/import.h"

#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/recover_summary.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<ImportJob>>(import_table, app);
  add_examples(app, {"prunus import model.Q4_K_M.gguf --out MODEL",
                     "prunus import model.Q8_0.gguf --out MODEL --dtype bf16"});
  return [command] {
    command->begin();
    print_record(command->program, run_import(command->job), print_recover_summary);
  };
}

}  // namespace

extern const Command import{"import", "Make a Hugging Face directory of a GGUF file", declare};

}  // namespace prunus::commands
