#include "prunus/cli/command.h"

#include <iostream>
#include <sched.h>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/StringUtil.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "prunus/base/block_cache.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"

namespace prunus {
namespace {

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

// Netlib's reference BLAS is tens of times slower than any tuned one.
void warn_of_slow_blas() {
  const std::string config = at::show_config();
  for (const char* fast :
       {"BLAS_INFO=mkl", "BLAS_INFO=open", "BLAS_INFO=accelerate", "BLAS_INFO=flame",
        "BLAS_INFO=flexi", "BLAS_INFO=atlas", "BLAS_INFO=nvpl"}) {
    if (config.find(fast) != std::string::npos) return;
  }
  log_warning("this libtorch has no fast BLAS (MKL, OpenBLAS); matrix products will be slow");
}

}  // namespace

void add_remark(CLI::App& app, const char* text) { app.footer(text); }

void add_examples(CLI::App& app, std::initializer_list<std::string_view> lines) {
  const std::string before = app.get_footer();  // what else the command says at its end
  std::string text = before.empty() ? "Examples:" : before + "\n\nExamples:";
  for (const std::string_view line : lines) text += c10::str("\n  ", line);
  app.footer(text);
}

void start(const ProgramOptions& options) {
  return_large_blocks();
  reuse_tensor_memory();
  set_verbosity(options.quiet ? Verbosity::Quiet : Verbosity::Normal);
  at::set_num_threads(options.threads > 0 ? static_cast<int>(options.threads) : usable_cores());
  choose_matmul(options.matmul);
  warn_of_slow_blas();
}

void print_json(const Json& json) { std::cout << json.dump(2) << std::endl; }

void print_record(const ProgramOptions& options, const Json& record,
                  void (*print)(const Json& record)) {
  if (options.json) {
    print_json(record);
  } else {
    print(record);
  }
}

}  // namespace prunus
