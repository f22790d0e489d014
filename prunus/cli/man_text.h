#pragma once
#include <string>
#include <string_view>

#include "prunus/cli/option_tree.h"

namespace prunus {

/// The manual page prunus(1), in roff with man macros and in ASCII: every command with its options,
/// their defaults and examples, then the exit codes.
std::string man_page(const OptionTree& tree, std::string_view version);

}  // namespace prunus
