#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion l2;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::l2};
}

extern const Method l2{
    .name = "l2",
    .source = "arXiv:2305.11627, magnitude baseline",
    .summary = "sum of squared weights; no calibration",
    .criteria = kCriteria,
};

}  // namespace methods
}  // namespace prunus
