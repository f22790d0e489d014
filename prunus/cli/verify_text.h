#pragma once
#include <string>

#include "prunus/base/json.h"

namespace prunus {

/// What run_verify() found, for people.
std::string verify_report(const Json& record);

}  // namespace prunus
