#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {
constexpr std::string_view kCriteria[] = {"l1"};
}

extern const Method l1{
    .name = "l1",
    .source = "arXiv:2305.11627, magnitude baseline",
    .summary = "sum of absolute weights; no calibration",
    .criteria = kCriteria,
};

}  // namespace prunus::methods
