#include "prunus/job/inspect.h"

#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/cli/command_line.h"
#include "prunus/cli/forms_text.h"
#include "prunus/cli/inspect_text.h"
#include "prunus/export/choose.h"
#include "prunus/job/job_options.h"

namespace prunus::commands {
namespace {

constexpr const char* kBareConfigs =
    "; also a directory with only config.json, or a config.json: weights are not needed";

struct InspectJob {
  std::string model;  // as asked for
  bool every_layer = false;
  at::Device device = at::kCPU;  // not used: nothing is computed
};

constexpr Option<InspectJob> kOptions[] = {
    {.info = {.key = "model",
              .help = kModelHelp,
              .more_help = +[] { return std::string(kBareConfigs); },
              .positional = "MODEL",
              .required = true},
     .member = PRUNUS_MEMBER(InspectJob, model)},
    {.info = {.key = "every-layer",
              .help = "one row per layer, instead of one per run of equal layers"},
     .member = PRUNUS_MEMBER(InspectJob, every_layer)},
    {.info = {.key = "device", .help = kDeviceHelp, .recorded = Recorded::No},
     .member = PRUNUS_DEVICE_MEMBER(InspectJob, device)}};

const OptionTable<InspectJob> table{
    .command = "inspect", .options = kOptions, .fresh = +[] { return InspectJob(); }};

Json inspected(const std::string& model) {
  try {
    Json record = run_inspect(model);
    record["forms"] = legality_table(open_for_inspection(locate_model(model).path).model.config());
    return record;
  } catch (const Error& error) {
    // What the files say can be shown of any checkpoint; why no more, main() says.
    if (error.kind() == ErrorKind::Unsupported) std::cout << list_tensors(locate_model(model).path);
    throw;
  }
}

void run(JobCommand<InspectJob>& command) {
  command.begin();
  const Json report = inspected(command.job.model);
  if (command.program.json) {
    print_json(report);
  } else {
    std::cout << inspect_text(report, command.job.every_layer) << "\n"
              << forms_text(report.at("forms"));
  }
}

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<InspectJob>>(table, app);
  add_examples(app, {"prunus inspect MODEL", "prunus inspect MODEL/config.json --every-layer",
                     "prunus inspect MODEL --json"});
  return [command] { run(*command); };
}

}  // namespace

extern const Command inspect{"inspect", "Show sizes, groups, compute and memory; needs no weights",
                             declare};

}  // namespace prunus::commands
