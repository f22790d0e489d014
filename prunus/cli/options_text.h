#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/base/option.h"

namespace prunus {

/// The options of a command, bound to jobs with every default.
struct CommandOptions {
  std::string_view command;
  std::vector<BoundOption> options;
  std::vector<std::shared_ptr<void>> jobs;
};

/// Every command that takes a recipe; those of the program itself last, without a command.
std::vector<CommandOptions> all_options();

/// docs/options.md: recipes, then every option of every command, from their tables.
std::string options_page();

}  // namespace prunus
