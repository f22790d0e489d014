#pragma once
#include <string>

namespace prunus {

/// The page docs/families.md: every family as a row, from the tables of model/families/.
std::string families_page();

}  // namespace prunus
