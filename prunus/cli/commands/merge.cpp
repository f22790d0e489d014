#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/cli/command.h"
#include "prunus/cli/recover_summary.h"
#include "prunus/recover/recover.h"

namespace prunus::commands {
namespace {

struct Options {
  MergeJob job;
  CommonOptions common;
  bool json = false;
};

void run(Options& options) {
  options.job.device = start(options.common);
  const Json record = run_merge(options.job);
  if (options.json) {
    print_json(record);
  } else {
    print_recover_summary(record);
  }
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->job.model_dir, "the model the adapter belongs to")->required();
  app.add_option("--adapter", options->job.adapter_dir, "LoRA or DoRA adapter in PEFT's format")
      ->required();
  app.add_option("--out", options->job.out_dir, "directory to write")->required();
  app.add_flag("--force", options->job.force, "replace what stands at --out");
  app.add_flag("--json", options->json, "print run.json to stdout");
  add_common_options(app, options->common);
  add_examples(app, {"prunus merge MODEL --adapter ADAPTER --out MERGED",
                     "prunus recover MODEL --out ADAPTER --data text.jsonl --adapter-only"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command merge{"merge", "Merge a LoRA adapter into its model", declare};

}  // namespace prunus::commands
