#pragma once
#include <string>

#include "prunus/cli/option_tree.h"

namespace prunus {

/// Scripts that teach a shell to complete the program's command line: commands, options, values
/// where there are few, and files elsewhere; nothing where a number is expected.
std::string bash_completion(const OptionTree& tree);
std::string zsh_completion(const OptionTree& tree);
std::string fish_completion(const OptionTree& tree);

}  // namespace prunus
