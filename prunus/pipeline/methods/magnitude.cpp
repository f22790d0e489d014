#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion l1;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::l1};
}

// Source: Han et al., ranked by row as in the experiments of Sun et al.
extern const Method magnitude{
    .name = "magnitude",
    .source = "Han et al., arXiv:1506.02626; by row: Sun et al., arXiv:2306.11695",
    .summary = "zeros in place of the smallest weights of each row; no calibration",
    .criteria = kCriteria,
    .structure = Structure::Weight,
    .ratio = 0.5,
};

}  // namespace methods
}  // namespace prunus
