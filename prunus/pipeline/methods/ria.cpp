#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion ria;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::ria};
}

extern const Method ria{
    .name = "ria",
    .source = "Zhang et al., Plug-and-Play, ICLR 2024",
    .summary =
        "zeros by relative importance: the weight's share of its row and its column, times the "
        "root of the input's norm; forward pass only",
    .criteria = kCriteria,
    .structure = Structure::Weight,
    .ratio = 0.5,
    .group = "layer",
    .calib_samples = 32,
    .calib_tokens = 1024,
};

}  // namespace methods
}  // namespace prunus
