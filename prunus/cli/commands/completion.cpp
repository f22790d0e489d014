#include <iostream>
#include <memory>

#include "prunus/cli/command_line.h"
#include "prunus/cli/completion_text.h"

namespace prunus::commands {
namespace {

struct Request {
  std::string shell;
};

constexpr Option<Request> kOptions[] = {
    {.info = {.key = "shell",
              .help = "the shell that is to complete: bash, zsh or fish",
              .choices = "bash,zsh,fish",
              .positional = "SHELL",
              .required = true},
     .member = PRUNUS_MEMBER(Request, shell)}};

const OptionTable<Request> table{
    .command = "completion", .options = kOptions, .fresh = +[] { return Request(); }};

struct Completion {
  explicit Completion(CLI::App& app) {
    line.add(table, request);
    line.declare(app);
  }
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  Request request;
  CommandLine line{table.command};
};

std::string script(const std::string& shell, const OptionTree& tree) {
  if (shell == "bash") return bash_completion(tree);
  return shell == "zsh" ? zsh_completion(tree) : fish_completion(tree);
}

std::function<void()> declare(CLI::App& app) {
  auto asked = std::make_shared<Completion>(app);
  add_remark(
      app,
      "The script goes to stdout. `cmake --install` puts all three where the shells look. In a\n"
      "bash that is running: source <(prunus completion bash)");
  add_examples(app, {"prunus completion bash", "prunus completion zsh", "prunus completion fish"});
  return [asked, &app] {
    asked->line.fill_jobs();
    std::cout << script(asked->request.shell, option_tree(app));
  };
}

}  // namespace

extern const Command completion{"completion", "Print a completion script for a shell", declare};

}  // namespace prunus::commands
