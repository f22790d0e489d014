#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/cli/command.h"
#include "prunus/cli/summary.h"
#include "prunus/pipeline/run.h"

namespace prunus::commands {
namespace {

struct Options {
  ApplyJob job;
  CommonOptions common;
  bool json = false;
};

void run(Options& options) {
  options.job.device = start(options.common);
  const Json record = run_apply(options.job);
  if (options.json) {
    print_json(record);
  } else {
    print_prune_summary(record);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->job.model_dir, "Hugging Face model directory")->required();
  app.add_option("--plan", options->job.plan_file, "plan.json of `prunus prune`, edited or not")
      ->required();
  app.add_option("--out", options->job.out_dir, "directory to write; new, or empty")->required();
  app.add_flag("--force", options->job.force, "replace OUT where it is an earlier result");
  app.add_flag("--json", options->json, "print run.json's content to stdout");
  add_common_options(app, options->common);
  add_examples(app, {"prunus prune MODEL --out DRAFT --ratio 0.25 --calib text.txt --dry-run",
                     "prunus apply MODEL --plan DRAFT/plan.json --out SMALLER"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command apply{"apply", "Execute a saved plan", declare};

}  // namespace prunus::commands
