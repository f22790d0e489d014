#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Scores nothing: the solver chooses.
constexpr Criterion kSolver{.name = "sparsegpt",
                            .source = "Frantar & Alistarh, SparseGPT, arXiv:2301.00774",
                            .needs = {.statistics = {&stats::hessian}}};
constexpr const Criterion* kCriteria[] = {&kSolver};

}  // namespace

extern const Method sparsegpt{
    .name = "sparsegpt",
    .source = "Frantar & Alistarh, SparseGPT, arXiv:2301.00774",
    .summary = "zeros column by column, the columns behind make up for each; forward pass only",
    .criteria = kCriteria,
    .structure = Structure::Weight,
    .ratio = 0.5,
    .group = "block:128",
    .sparse_solver = "sparsegpt",
    .sparse_options = {.damping = 0.01},
    .calib_samples = 32,
    .calib_tokens = 1024,
};

}  // namespace prunus::methods
