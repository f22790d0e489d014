#include "prunus/budget/budget.h"
#include "prunus/graph/ranking.h"

namespace prunus::budget {
namespace {

std::vector<int64_t> remove(const BudgetRequest& request) {
  std::vector<int64_t> counts;
  for (size_t i = 0; i < request.sets.size(); ++i) {
    counts.push_back(units_to_cut_alone(request.sets[i], request.ratios[i], request.round_to));
  }
  return counts;
}

}  // namespace

// The same ratio for every set, rounded as the program of the paper rounds: in slices removed.
extern const Budget llm_pruner_uniform{.name = "llm_pruner_uniform",
                                       .source = "LLM-Pruner, commit 128a07d, local pruning",
                                       .remove = remove,
                                       .follows_program = true};

}  // namespace prunus::budget
