#include "prunus/budget/budget.h"

namespace prunus::budget {

// What each part gives is found by measuring (pipeline/search.h), so there is nothing to ask here.
extern const Budget search{.name = "search",
                           .source = "one-unit divergences and a knapsack: pipeline/search.h",
                           .remove = nullptr,
                           .ranks_sets = true,
                           .measures = true};

}  // namespace prunus::budget
