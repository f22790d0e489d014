#include "prunus/budget/budget.h"
#include "prunus/graph/ranking.h"

namespace prunus::budget {
namespace {

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::vector<int64_t> counts;
  for (size_t i = 0; i < request.sets.size(); ++i) {
    counts.push_back(units_to_cut_alone(request.sets[i], request.ratios[i]));
  }
  return counts;
}

}  // namespace

// The same ratio for every set (local ranking).
extern const Budget uniform{
    .name = "uniform", .source = "arXiv:2305.11627, local ranking", .remove = remove};

}  // namespace prunus::budget
