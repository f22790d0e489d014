#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion expert_output;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::expert_output};
}

extern const Method reap{
    .name = "reap",
    .source = "Lasby et al., REAP the Experts, arXiv:2510.13999",
    .summary =
        "size of each expert's router-weighted output on calibration text, forward pass "
        "only; removes experts",
    .criteria = kCriteria,
    .structure = Structure::Expert,
    .members = Members::Router,
};

}  // namespace methods
}  // namespace prunus
