#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include <CLI/CLI.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/cli/command.h"

namespace {

constexpr const char* kFooter = R"(Examples:
  prunus inspect MODEL
  prunus eval MODEL --ppl valid.txt
  prunus prune MODEL --out SMALLER --ratio 0.25 --calib text.txt
  prunus prune MODEL --out SMALLER --target-params 0.8x --calib text.txt
  prunus recover SMALLER --out BETTER --data text.jsonl --teacher MODEL
  prunus generate SMALLER --prompt "Once upon a time"

MODEL is a Hugging Face directory: config.json, *.safetensors, tokenizer files.
Progress and messages go to stderr, results to stdout (--json for machines).

Exit codes: 0 done, 1 the system refused (disk full, out of memory), 2 usage, 3 bad input
file, 4 unsupported model, 5 numeric failure, 6 output check failed, 130 interrupted.)";

bool is_control(unsigned char c) { return c < 0x20 || c == 0x7F; }

// One line, whatever names from an untrusted file the message quotes.
int report(const char* kind, std::string message, int code) {
  std::replace_if(message.begin(), message.end(), is_control, '?');
  std::cerr << "prunus: " << kind << ": " << message << '\n';
  return code;
}

// A result that did not reach its file is a failure like any other: `> file` on a full disk.
int flush_results() {
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  if (flushed && std::cout && std::ferror(stdout) == 0) return 0;
  return report("i/o", "stdout: cannot write the results; disk full?", 1);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Prunus makes large language models smaller: fewer heads, channels and layers."};
  app.footer(kFooter);
  app.set_version_flag("--version", "prunus " PRUNUS_VERSION);
  app.require_subcommand(1);
  for (const prunus::Command* command : prunus::commands::all()) {
    CLI::App* sub = app.add_subcommand(std::string(command->name), std::string(command->summary));
    sub->option_defaults()->always_capture_default();
    sub->callback(command->declare(*sub));
  }
  prunus::install_interrupt_handler();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  } catch (const prunus::Error& error) {
    return report(prunus::error_kind_name(error.kind()), error.what(),
                  prunus::exit_code(error.kind()));
  } catch (const std::bad_alloc&) {
    return report("i/o", "out of memory", 1);
  } catch (const std::exception& error) {
    // libtorch's own errors: an allocation that failed, or a bug of ours.
    return report("internal error", error.what(), 1);
  }
  return flush_results();
}
