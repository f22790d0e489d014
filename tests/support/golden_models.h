#pragma once
#include <string>
#include <vector>

namespace prunus::test {

/// Directory of a tiny model of tests/model/golden.
std::string golden_dir(const std::string& name);

/// The folders in a folder by name, sorted: one for each case of a test.
std::vector<std::string> folders_in(const std::string& path);

/// Their names, sorted: every family has at least one.
std::vector<std::string> golden_names();

/// Those that are mixtures of experts.
std::vector<std::string> golden_mixtures();

}  // namespace prunus::test
