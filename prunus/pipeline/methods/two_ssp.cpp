#include <ATen/ATen.h>

#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

at::Tensor slice(const SliceRequest& request) {
  return mean_sample_norm_of(request.stats.of_input(stats::sample_norm));
}

constexpr Criterion kNeuronNorm{.name = "neuron_norm",
                                .source = "Sandri et al., arXiv:2501.17771, eq. 3",
                                .needs = {.statistics = {&stats::sample_norm}},
                                .slice = slice};
constexpr const Criterion* kCriteria[] = {&kNeuronNorm};

}  // namespace

extern const Method two_ssp{
    .name = "2ssp",
    .source = "Sandri et al., 2SSP, arXiv:2501.17771",
    .summary =
        "feed-forward channels by the norm of what they give, as many in every layer, then whole "
        "attention parts, each time the one without which the loss is least; forward pass only",
    .criteria = kCriteria,
    .members = Members::Consumers,
    .budget = "two_stage",
    .calib_samples = 64,
    .calib_tokens = 256,
};

}  // namespace prunus::methods
