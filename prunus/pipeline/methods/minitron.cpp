#include <ATen/ATen.h>

#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {

at::Tensor slice(const SliceRequest& request) {
  return input_activity_of(request.stats.of_input(stats::input_activity));
}

constexpr Criterion kActivity{.name = "activity",
                              .source = "Muralidharan et al., arXiv:2407.14679, section 2.2",
                              .needs = {.statistics = {&stats::input_activity}},
                              .slice = slice};
constexpr const Criterion* kCriteria[] = {&kActivity};

}  // namespace

// Heads by the norm of what they put out, inner channels by what enters down_proj, channels of the
// residual stream by what the norms put out. Differs: nothing of the heads that go is added to
// those that stay, and the final norm does not count.
extern const Method minitron{
    .name = "minitron",
    .source = "Muralidharan et al., Minitron, arXiv:2407.14679",
    .summary =
        "size of the activations that enter o_proj (by head), down_proj and, for the hidden "
        "dimension, every part; forward pass only",
    .criteria = kCriteria,
    .members = Members::Inputs,
    .calib_samples = 64,
    .calib_tokens = 1024,
};

}  // namespace prunus::methods
