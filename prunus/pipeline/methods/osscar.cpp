#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion osscar;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::osscar};
}

// Differs: units are chosen behind the dense layers, and weights fitted behind the pruned ones.
extern const Method osscar{
    .name = "osscar",
    .source = "Meng et al., OSSCAR, arXiv:2403.12983",
    .summary =
        "the heads and channels of each layer that go together with the least damage (OBS, then "
        "exchanges), then fits o_proj and down_proj anew, forward pass only",
    .criteria = kCriteria,
    .members = Members::Consumers,
    .solver = "least-squares",
    .calib_samples = 64,
    .calib_tokens = 256,
};

}  // namespace methods
}  // namespace prunus
