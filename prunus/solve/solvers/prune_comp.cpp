#include "prunus/solve/solver.h"

namespace prunus::solvers {

extern const Solver prune_comp{
    .name = "prune-comp",
    .source = "Prune&Comp, arXiv:2507.18212",
    .summary =
        "with --structure layer: what stands behind layers that went adds less, as the stream "
        "would have grown in them (a number for each gap, folded into o_proj and down_proj)",
    .scales_stream = true};

}  // namespace prunus::solvers
