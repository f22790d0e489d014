#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/forms_text.h"
#include "prunus/export/export_job.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<ExportJob>>(export_table, app);
  add_examples(app, {"prunus export MODEL --format hf --out OUT --dry-run",
                     "prunus export MODEL --format hf --form shell --out OUT",
                     "prunus export MODEL --format hf --form remote-code --dtype bf16 --out OUT",
                     "prunus export SPARSE --format bitmask --values int8 --out OUT"});
  return [command] {
    command->begin();
    print_record(command->program, run_export(command->job), print_export_summary);
  };
}

}  // namespace

extern const Command export_{"export", "Write a model in a form that other software opens",
                             declare};

}  // namespace prunus::commands
