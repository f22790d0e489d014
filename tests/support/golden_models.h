#pragma once
#include <string>
#include <vector>

namespace prunus::test {

/// Directory of a tiny model of tests/model/golden.
std::string golden_dir(const std::string& name);

/// Their names, sorted: every family has at least one.
std::vector<std::string> golden_names();

/// Those that are mixtures of experts.
std::vector<std::string> golden_mixtures();

}  // namespace prunus::test
