#include "prunus/eval/verify.h"

#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/run_schema.h"
#include "prunus/cli/command_line.h"
#include "prunus/cli/output_file.h"
#include "prunus/cli/record_output.h"
#include "prunus/cli/verify_text.h"
#include "prunus/eval/eval_table.h"

namespace prunus::commands {
namespace {

struct Verification {
  explicit Verification(CLI::App& app) {
    line.add(verify_table, job);
    line.add(verify_output_table, output);
    line.add(program_table, program);
    line.declare(app);
  }
  Verification(const Verification&) = delete;
  Verification& operator=(const Verification&) = delete;

  VerifyJob job = verify_table.fresh();
  RecordOutput output = {};
  ProgramOptions program;
  CommandLine line{verify_table.command};
};

void run(Verification& asked) {
  asked.line.fill_jobs();
  start(asked.program);
  const VerifyJob& job = asked.job;
  const OutputFile out{"--out", asked.output.out};
  check_outputs({out}, {job.model_dir, job.other_dir, job.data}, asked.output.force);
  const OutputLock lock({out});
  const Json record = run_verify(job);
  print_record(asked.program, record,
               [](const Json& found) { std::cout << verify_report(found) << std::flush; });
  write_output(out, record.dump(2) + "\n");
  const Json& verify = record.at(run_key::kVerify);
  PRUNUS_CHECK(verify.at("passed") != false, OutputCheck, job.other_dir,
               ": not the same model: logits differ by up to ",
               verify.at("max_abs_diff").get<double>(), ", --tolerance is ", *job.tolerance,
               "; vocabularies and tokenizers must agree as well (see the table)");
}

std::function<void()> declare(CLI::App& app) {
  auto asked = std::make_shared<Verification>(app);
  add_examples(app, {"prunus verify MODEL OTHER --data valid.txt",
                     "prunus verify MODEL OTHER --tolerance 1e-3 --json"});
  return [asked] { run(*asked); };
}

}  // namespace

extern const Command verify{"verify", "Compare the logits of two models on a text", declare};

}  // namespace prunus::commands
