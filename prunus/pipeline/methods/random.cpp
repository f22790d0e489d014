#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion random;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::random};
}

extern const Method random{
    .name = "random",
    .source = "uniform baseline",
    .summary = "random choice by seed; no calibration",
    .criteria = kCriteria,
};

}  // namespace methods
}  // namespace prunus
