#include <ATen/ATen.h>

#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

// Var(x_j)·‖W[:, j]‖² of each column; of attention's output the square of it, as in the program.
at::Tensor slice(const SliceRequest& request) {
  const WeightStats& stats = request.stats;
  const at::Tensor variance = input_variance_of(stats.of_input(stats::input_moments));
  const at::Tensor score = variance * stats.weight.to(at::kDouble).square().sum(0);
  return stats.role == Role::OProj ? score.square() : score;
}

constexpr Criterion kFluctuation{.name = "fluctuation",
                                 .source = "An et al., arXiv:2312.11983, eq. 5 (WIFV)",
                                 .needs = {.statistics = {&stats::input_moments}},
                                 .slice = slice};
constexpr const Criterion* kCriteria[] = {&kFluctuation};

}  // namespace

// The selection alone: the biases that make up for the mean of what goes are a solver's.
extern const Method flap{
    .name = "flap",
    .source = "An et al., FLAP, arXiv:2312.11983",
    .summary = "fluctuation of the input times squared norm, one ranking over all layers",
    .criteria = kCriteria,
    .members = Members::Consumers,
    .normalisation = Normalisation::Standard,
    .budget = "global_params",
};

}  // namespace prunus::methods
