#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion wanda;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::wanda};
}

extern const Method wanda{
    .name = "wanda",
    .source = "Sun et al., Wanda, arXiv:2306.11695",
    .summary =
        "zeros in place of the weights of each row with the least |weight| times norm of the "
        "input; forward pass only",
    .criteria = kCriteria,
    .structure = Structure::Weight,
    .ratio = 0.5,
    .group = "row",
    .calib_samples = 32,
    .calib_tokens = 1024,
};

}  // namespace methods
}  // namespace prunus
