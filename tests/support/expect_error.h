#pragma once
#include <functional>
#include <string>

#include "prunus/base/error.h"

namespace prunus::test {

/// Fails the test unless `act` throws an Error of this kind whose message holds `part`.
void expect_error(ErrorKind kind, const std::string& part, const std::function<void()>& act);

}  // namespace prunus::test
