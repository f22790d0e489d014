#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {
constexpr std::string_view kCriteria[] = {"expert_output"};
}

extern const Method reap{
    .name = "reap",
    .source = "Lasby et al., REAP the Experts, arXiv:2510.13999",
    .summary =
        "size of each expert's router-weighted output on calibration text, forward pass "
        "only; with --structure expert",
    .criteria = kCriteria,
};

}  // namespace prunus::methods
