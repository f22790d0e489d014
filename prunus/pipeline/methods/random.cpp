#include "prunus/pipeline/method.h"

namespace prunus::methods {
namespace {
constexpr std::string_view kCriteria[] = {"random"};
}

extern const Method random{
    .name = "random",
    .source = "uniform baseline",
    .summary = "random choice by seed; no calibration",
    .criteria = kCriteria,
};

}  // namespace prunus::methods
