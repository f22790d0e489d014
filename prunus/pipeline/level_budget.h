#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/pipeline/options.h"
#include "prunus/pipeline/sensitivity.h"

namespace prunus {

/// What the levels of parts take of what a search may spend: the weights and the capacity of its
/// knapsack.
class LevelBudget {
 public:
  virtual ~LevelBudget() = default;
  /// Of a part's level, ≥ 0, not decreasing from a level to the next.
  virtual int64_t weight(size_t part, size_t level) const = 0;
  /// That the parts may take together.
  virtual int64_t capacity() const = 0;
  /// Looks at a choice of levels; whether the capacity is another one now, so that the choice has
  /// to be made anew.
  virtual bool adjust(const std::vector<size_t>& levels) = 0;
  /// For the record of a search; null: nothing to say.
  virtual Json json() const = 0;
};

/// By the recipe's target: parameters (or the ratio of those in the parts), bytes of the source's
/// dtypes, or measured time. `parts` keep their sizes while their units change. Measuring shows
/// progress. Throws Interrupted; as LatencyProbe.
std::unique_ptr<LevelBudget> level_budget(const Model& model, const PruneRecipe& recipe,
                                          const std::vector<PartLevels>& parts);

}  // namespace prunus
