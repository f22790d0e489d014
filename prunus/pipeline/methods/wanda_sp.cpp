#include "prunus/pipeline/method.h"

namespace prunus {

namespace criteria {
extern const Criterion wanda;
}

namespace methods {
namespace {
constexpr const Criterion* kCriteria[] = {&criteria::wanda};
}

// Columns of the matrices that read a head or channel, added up. Source: the baseline of FLAP's
// program. Differs: statistics of the dense model, whatever was cut before.
extern const Method wanda_sp{
    .name = "wanda-sp",
    .source = "An et al., FLAP, arXiv:2312.11983 (baseline); Sun et al., arXiv:2306.11695",
    .summary = "|weight| times norm of the input, over the columns of o_proj and down_proj",
    .criteria = kCriteria,
    .members = Members::Consumers,
};

}  // namespace methods
}  // namespace prunus
