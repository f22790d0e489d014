#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "prunus/base/option.h"
#include "prunus/cli/command.h"
#include "prunus/job/program_options.h"

namespace CLI {
class App;
}

namespace prunus {

/// The options of one command, from tables, on its parser: what is given there and in the recipe
/// that --config names becomes the jobs' values.
class CommandLine {
 public:
  explicit CommandLine(std::string_view command) : command_(command) {}

  /// Adds a table. `job` has its defaults and outlives this.
  template <typename Job, typename Resolved>
  void add(const OptionTable<Job, Resolved>& table, Job& job) {
    for (BoundOption& option : bind(table, job)) options_.push_back(std::move(option));
    fillers_.emplace_back([&table, &job](const Given& given) { fill(table, job, given); });
  }

  /// Declares all that was added. Once; this outlives the parser's run.
  void declare(CLI::App& app);

  /// After parsing: reads the recipe, lets the command line override it, sets the jobs' values.
  /// Throws as read_given; InvalidArgument where something required is missing, or as the tables.
  void fill_jobs() const;

 private:
  Given read() const;
  void check_required(const Given& given) const;

  std::string_view command_;
  std::vector<BoundOption> options_;
  std::vector<std::function<void(const Given&)>> fillers_;
  Given line_;  // what the parser has found
};

/// A command that is one job, whose options are a table's and those of the program that
/// `program_options` has.
template <typename Job>
struct JobCommand {
  template <typename Resolved>
  JobCommand(const OptionTable<Job, Resolved>& table, CLI::App& app,
             const OptionTable<ProgramOptions>& program_options = program_table)
      : job(table.fresh()), line(table.command) {
    line.add(table, job);
    line.add(program_options, program);
    line.declare(app);
  }
  JobCommand(const JobCommand&) = delete;
  JobCommand& operator=(const JobCommand&) = delete;

  /// After parsing: fills the job, and prepares the process for it.
  void begin() {
    line.fill_jobs();
    start(program);
  }

  Job job;
  ProgramOptions program = {};
  CommandLine line;
};

}  // namespace prunus
