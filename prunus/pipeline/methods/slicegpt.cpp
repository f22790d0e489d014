#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Scores nothing: the moments of the stream say which directions stay (graph/rotate.h).
constexpr Criterion kEnergy{.name = "energy",
                            .source = "Ashkboos et al., arXiv:2401.15024, section 3.3",
                            .needs = {.statistics = {&stats::hessian}}};
constexpr const Criterion* kCriteria[] = {&kEnergy};

}  // namespace

// Differs: one basis for the whole model, so that no matrices stand in the shortcuts and stock
// classes read the result.
extern const Method slicegpt{
    .name = "slicegpt",
    .source = "Ashkboos et al., SliceGPT, arXiv:2401.15024",
    .summary =
        "turns the residual stream into its principal directions and drops the last; a smaller "
        "hidden_size, forward pass only",
    .criteria = kCriteria,
    .structure = Structure::Channel,
    .rotates = true,
    .calib_samples = 64,
    .calib_tokens = 1024,
};

}  // namespace prunus::methods
