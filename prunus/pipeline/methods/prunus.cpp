#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion obs;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::obs};
}

// Our own: what goes is what least squares can best make up for, and then it does.
extern const Method prunus{
    .name = "prunus",
    .source = "this project: docs/methods.md",
    .summary =
        "removes what the rest can best make up for (OBS), then fits o_proj and down_proj anew, "
        "forward pass only",
    .criteria = kCriteria,
    .members = Members::Consumers,
    .budget = "search",
    .solver = "least-squares",
    .calib_samples = 64,
    .calib_tokens = 1024,
};

}  // namespace methods
}  // namespace prunus
