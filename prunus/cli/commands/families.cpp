#include <iostream>

#include "prunus/cli/command.h"
#include "prunus/cli/families_text.h"

namespace prunus::commands {
namespace {

std::function<void()> declare(CLI::App& app) {
  add_examples(app, {"prunus families", "prunus help families"});
  return [] { std::cout << families_page(); };
}

}  // namespace

extern const Command families{"families", "List the model families, as Markdown", declare};

}  // namespace prunus::commands
