#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prunus {

/// The known word that `word` was most likely meant to be; empty where none is near. Dashes at the
/// beginning do not count, '_' is as good as '-', capital letters as small ones. Near is: a third
/// of the letters at most is wrong (a letter more, less, other, or two that changed places), one of
/// the two begins with the other (three letters at least), or `word` stands inside a known one
/// (four). The first kind wins over the second, the second over the third; then the smaller
/// difference; then the earlier word.
std::string nearest(std::string_view word, std::span<const std::string> known);

/// "; did you mean 'prune'?" for the end of a message, or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

/// "'magic' is not known; known: l1, l2" and did_you_mean().
std::string unknown_word(std::string_view word, std::span<const std::string> known);

}  // namespace prunus
