#include "prunus/pipeline/knapsack.h"

#include <algorithm>
#include <limits>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

}  // namespace

std::vector<size_t> solve_knapsack(const std::vector<std::vector<KnapsackLevel>>& units,
                                   int64_t capacity, int64_t bins) {
  int64_t lightest = 0;
  for (const auto& levels : units) {
    lightest += std::min_element(levels.begin(), levels.end(), [](const auto& a, const auto& b) {
                  return a.weight < b.weight;
                })->weight;
  }
  PRUNUS_CHECK(lightest <= capacity, InvalidArgument, "with everything as small as it may be ",
               lightest, " are left, but at most ", capacity, " were asked for");
  const int64_t step = std::max<int64_t>(1, capacity / std::max<int64_t>(1, bins));
  const auto room = static_cast<size_t>(capacity / step);
  // best[b]: least cost of the units so far in b steps; choice[u][b]: the level taken there.
  std::vector<double> best(room + 1, 0);
  std::vector<std::vector<uint16_t>> choice(units.size(), std::vector<uint16_t>(room + 1));
  for (size_t u = 0; u < units.size(); ++u) {
    std::vector<double> next(room + 1, kNever);
    for (size_t level = 0; level < units[u].size(); ++level) {
      const auto [weight, cost] = units[u][level];
      const auto size = static_cast<size_t>((weight + step - 1) / step);
      for (size_t b = size; b <= room; ++b) {
        const double total = best[b - size] + cost;
        const bool heavier = weight > units[u][choice[u][b]].weight;
        if (total < next[b] || (total == next[b] && total < kNever && heavier)) {
          next[b] = total;
          choice[u][b] = static_cast<uint16_t>(level);
        }
      }
    }
    best = std::move(next);
  }
  // Rounding up may leave no room where there is exactly enough.
  PRUNUS_CHECK(best[room] < kNever, InvalidArgument, "with everything as small as it may be ",
               lightest, " are left, too near to the ", capacity, " asked for");
  std::vector<size_t> levels(units.size());
  size_t left = room;
  for (size_t u = units.size(); u-- > 0;) {
    levels[u] = choice[u][left];
    left -= static_cast<size_t>((units[u][levels[u]].weight + step - 1) / step);
  }
  return levels;
}

}  // namespace prunus
