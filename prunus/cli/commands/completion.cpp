#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>

#include "prunus/cli/command.h"
#include "prunus/cli/completion_text.h"
#include "prunus/cli/parser.h"

namespace prunus::commands {
namespace {

std::string script(const std::string& shell, const OptionTree& tree) {
  if (shell == "bash") return bash_completion(tree);
  return shell == "zsh" ? zsh_completion(tree) : fish_completion(tree);
}

std::function<void()> declare(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "the shell that is to complete: bash, zsh or fish")
      ->required()
      ->check(one_of({"bash", "zsh", "fish"}));
  app.footer(
      "The script goes to stdout. `cmake --install` puts all three where the shells look. In a\n"
      "bash that is running: source <(prunus completion bash)");
  add_examples(app, {"prunus completion bash", "prunus completion zsh", "prunus completion fish"});
  const CLI::App* program = app.get_parent();
  return [shell, program] { std::cout << script(*shell, option_tree(*program)); };
}

}  // namespace

extern const Command completion{"completion", "Print a completion script for a shell", declare};

}  // namespace prunus::commands
