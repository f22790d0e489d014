#include "prunus/job/inspect.h"

#include <iostream>
#include <memory>

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/cli/command.h"
#include "prunus/cli/forms_text.h"
#include "prunus/cli/inspect_text.h"
#include "prunus/export/choose.h"
#include "prunus/job/job_options.h"

namespace prunus::commands {
namespace {

struct Options {
  std::string model;
  bool every_layer = false;
  CommonOptions common;
  bool json = false;
};

void run(const Options& options) {
  start(options.common);
  const Json report = [&] {
    try {
      Json record = run_inspect(options.model);
      record["forms"] =
          legality_table(open_for_inspection(locate_model(options.model).path).model.config());
      return record;
    } catch (const Error& error) {
      // What the files say can be shown of any checkpoint; why no more, main() says.
      if (error.kind() == ErrorKind::Unsupported)
        std::cout << list_tensors(locate_model(options.model).path);
      throw;
    }
  }();
  if (options.json) {
    print_json(report);
  } else {
    std::cout << inspect_text(report, options.every_layer) << "\n"
              << forms_text(report.at("forms"));
  }
}

std::function<void()> declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model,
                 std::string(kModelHelp) +
                     "; also a directory with only config.json, or a config.json: weights are not "
                     "needed")
      ->required();
  app.add_flag("--every-layer", options->every_layer,
               "one row per layer, instead of one per run of equal layers");
  app.add_flag("--json", options->json, "print JSON, a run.json, to stdout");
  add_common_options(app, options->common);
  add_examples(app, {"prunus inspect MODEL", "prunus inspect MODEL/config.json --every-layer",
                     "prunus inspect MODEL --json"});
  return [options] { run(*options); };
}

}  // namespace

extern const Command inspect{"inspect", "Show sizes, groups, compute and memory; needs no weights",
                             declare};

}  // namespace prunus::commands
