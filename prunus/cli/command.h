#pragma once
#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>

#include "prunus/base/json.h"
#include "prunus/job/program_options.h"

namespace CLI {
class App;
}

namespace prunus {

/// A subcommand: declares its options on its own parser; what it returns runs after parsing.
/// One object per file of cli/commands/.
struct Command {
  std::string_view name;
  std::string_view summary;
  std::function<void()> (*declare)(CLI::App& app);
};

namespace commands {
/// Every command, by file name.
std::span<const Command* const> all();
}  // namespace commands

/// Puts a remark at the end of the command's --help. Before add_examples().
void add_remark(CLI::App& app, const char* text);

/// Puts command lines that work at the end of the command's --help.
void add_examples(CLI::App& app, std::initializer_list<std::string_view> lines);

/// Applies threads and verbosity, checks the BLAS.
void start(const ProgramOptions& options);

/// Prints JSON, indented, to stdout.
void print_json(const Json& json);

/// Prints a record as asked for: as JSON, or by `print`.
void print_record(const ProgramOptions& options, const Json& record,
                  void (*print)(const Json& record));

}  // namespace prunus
