#pragma once
#include <string>
#include <vector>

namespace prunus::test {

/// Directory of a tiny model of tests/model/golden.
std::string golden_dir(const std::string& name);

/// Their names, sorted: every family has at least one.
std::vector<std::string> golden_names();

}  // namespace prunus::test
