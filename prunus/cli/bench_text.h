#pragma once
#include <string>

#include "prunus/base/json.h"

namespace prunus {

/// What `prunus bench --json` prints (docs/bench.md), as tables for people: sizes, speed of each
/// case, where the time goes, and with two models their ratios beside the ideal.
std::string bench_text(const Json& report);

}  // namespace prunus
