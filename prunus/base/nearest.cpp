#include "prunus/base/nearest.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include <c10/util/StringUtil.h>

namespace prunus {
namespace {

// Words longer than this are no slip of a finger; the comparison takes the product of the lengths.
constexpr size_t kLongest = 64;
constexpr size_t kShortestBeginning = 3;
constexpr size_t kShortestPart = 4;
constexpr size_t kBeginningRank = 1000;
constexpr size_t kPartRank = 2000;

std::string plain(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  std::string text;
  for (const char c : word) {
    text += c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return text;
}

// Letters put in, left out, replaced, or swapped with their neighbour (each place once).
size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t other = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + other});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

// Smaller is nearer; nothing where the words have little to do with each other.
std::optional<size_t> rank(const std::string& word, const std::string& known) {
  const size_t least = std::min(word.size(), known.size());
  const size_t most = std::max(word.size(), known.size());
  if (least == 0 || most > kLongest) return std::nullopt;
  const size_t wrong = edits(word, known);
  if (wrong <= std::max<size_t>(1, least / 3) && wrong < least) return wrong;
  const bool begins = word.starts_with(known) || known.starts_with(word);
  if (begins && least >= kShortestBeginning) return kBeginningRank + most - least;
  const bool inside = word.size() >= kShortestPart && known.find(word) != known.npos;
  return inside ? std::optional(kPartRank + most - least) : std::nullopt;
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> known) {
  const std::string asked = plain(word);
  std::string best;
  std::optional<size_t> best_rank;
  for (const std::string& one : known) {
    const auto its_rank = rank(asked, plain(one));
    if (!its_rank || (best_rank && *best_rank <= *its_rank)) continue;
    best_rank = its_rank;
    best = one;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::string near = nearest(word, known);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

std::string unknown_word(std::string_view word, std::span<const std::string> known) {
  std::string list;
  for (const std::string& one : known) list += c10::str(list.empty() ? "" : ", ", one);
  return c10::str("'", word, "' is not known; known: ", list, did_you_mean(word, known));
}

}  // namespace prunus
