#include <iostream>

#include "prunus/cli/command.h"
#include "prunus/cli/options_text.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  add_examples(app, {"prunus options", "prunus help options"});
  return [] { std::cout << options_page(); };
}

}  // namespace

extern const Command options{"options", "List what recipes may hold, as Markdown", declare};

}  // namespace prunus::commands
