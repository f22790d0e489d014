#pragma once
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace prunus {

/// The program's command line: every command with its options and examples, and what holds for all
/// of them: a number is finite, not negative and written in digits, a count a whole one of at most
/// 2^40 (seeds: any of 64 bits).
class Parser {
 public:
  /// `runs`: parsing also runs the command that is named; without, it is only checked.
  explicit Parser(bool runs);

  /// `arguments` as after the program's name. `help` is --help, `help COMMAND` is COMMAND --help.
  /// Throws InvalidArgument, naming the command, the word that was not understood and the nearest
  /// known one; CLI::Success (exit() then prints the help or the version); as the command.
  void parse(std::vector<std::string> arguments);

  /// Prints what was asked for in place of a run.
  int exit(const CLI::Success& asked) const { return app_.exit(asked); }

  const CLI::App& app() const { return app_; }

 private:
  CLI::App app_;
};

}  // namespace prunus
