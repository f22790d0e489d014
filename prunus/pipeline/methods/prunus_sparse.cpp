#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Scores nothing: the solver chooses.
constexpr Criterion kSolver{
    .name = "prunus-sparse", .source = "this project", .needs = {.statistics = {&stats::hessian}}};
constexpr const Criterion* kCriteria[] = {&kSolver};

}  // namespace

// Our own: ADMM's zeros, fitted to what the dense model gives on its own stream.
extern const Method prunus_sparse{
    .name = "prunus-sparse",
    .source = "this project: docs/methods.md",
    .summary =
        "zeros and the weights that stay (ADMM) by what the dense model gives, as many in each "
        "part as it bears; forward pass only",
    .criteria = kCriteria,
    .structure = Structure::Weight,
    .ratio = 0.5,
    .group = "layer",
    .sparse_solver = "admm",
    .sparse_options = {.ridge = 0.2,
                       .dense_target = true,
                       .residual_correction = 0.5,
                       .token_weights = true},
    .allocation = "measured",
    .calib_samples = 32,
    .calib_tokens = 1024,
};

}  // namespace prunus::methods
