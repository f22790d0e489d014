#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {
constexpr std::string_view kCriteria[] = {"l2"};
}

extern const Method l2{
    .name = "l2",
    .source = "arXiv:2305.11627, magnitude baseline",
    .summary = "sum of squared weights; no calibration",
    .criteria = kCriteria,
};

}  // namespace prunus::methods
