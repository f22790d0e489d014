#include <iostream>

#include "prunus/cli/command.h"
#include "prunus/cli/man_text.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  add_remark(app, "To read it where it is not installed: prunus man | man -l -");
  add_examples(app, {"prunus man", "prunus help man"});
  return [&app] { std::cout << man_page(option_tree(app), PRUNUS_VERSION); };
}

}  // namespace

extern const Command man{"man", "Print the manual page, in roff", declare};

}  // namespace prunus::commands
