#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Scores nothing: the solver chooses.
constexpr Criterion kSolver{
    .name = "admm", .source = "Boža, arXiv:2401.02938", .needs = {.statistics = {&stats::hessian}}};
constexpr const Criterion* kCriteria[] = {&kSolver};

}  // namespace

extern const Method admm{
    .name = "admm",
    .source = "Boža, arXiv:2401.02938",
    .summary =
        "zeros and the weights that stay in turns (ADMM), then these are fitted anew; forward pass "
        "only",
    .criteria = kCriteria,
    .structure = Structure::Weight,
    .ratio = 0.5,
    .group = "layer",
    .sparse_solver = "admm",
    .sparse_options = {.ridge = 0.1},
    .calib_samples = 32,
    .calib_tokens = 1024,
};

}  // namespace prunus::methods
