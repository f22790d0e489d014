#pragma once
#include <string>
#include <string_view>

namespace prunus {

/// Throws Corrupt, saying how to get the file itself, where `content` (its first bytes do) is what
/// stands in for a file that was not fetched: a Git LFS pointer or a web page. `where` is its path.
void check_no_stand_in(std::string_view content, const std::string& where);

}  // namespace prunus
