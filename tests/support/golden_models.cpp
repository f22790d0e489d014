#include "support/golden_models.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/io/hf_directory.h"
#include "prunus/model/config.h"

#include "support/paths.h"

namespace prunus::test {

std::string golden_dir(const std::string& name) {
  return source_path("tests/model/golden/") + name;
}

std::vector<std::string> folders_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> golden_names() { return folders_in(golden_dir("")); }

std::vector<std::string> golden_mixtures() {
  std::vector<std::string> names = golden_names();
  std::erase_if(names, [](const std::string& name) {
    return !parse_config(read_config(golden_dir(name)), name).family->mixture;
  });
  return names;
}

}  // namespace prunus::test
