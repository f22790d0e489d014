#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/cli/command_line.h"
#include "prunus/cli/summary.h"
#include "prunus/pipeline/prune_table.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<ApplyJob>>(apply_table, app);
  add_examples(app, {"prunus prune MODEL --out DRAFT --ratio 0.25 --calib text.txt --dry-run",
                     "prunus apply MODEL --plan DRAFT/plan.json --out SMALLER"});
  return [command] {
    command->begin();
    print_record(command->program, run_apply(command->job), print_prune_summary);
  };
}

}  // namespace

extern const Command apply{"apply", "Execute a saved plan", declare};

}  // namespace prunus::commands
