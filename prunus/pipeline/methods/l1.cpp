#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion l1;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::l1};
}

extern const Method l1{
    .name = "l1",
    .source = "arXiv:2305.11627, magnitude baseline",
    .summary = "sum of absolute weights; no calibration",
    .criteria = kCriteria,
};

}  // namespace methods
}  // namespace prunus
