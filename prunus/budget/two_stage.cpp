#include "prunus/budget/budget.h"

namespace prunus::budget {

// Attention parts go one by one by what the loss is without them (pipeline/two_stage.h).
extern const Budget two_stage{.name = "two_stage",
                              .source = "Sandri et al., 2SSP, arXiv:2501.17771, section 3",
                              .remove = nullptr,
                              .ranks_sets = true,
                              .two_stages = true};

}  // namespace prunus::budget
