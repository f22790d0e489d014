#include "support/paths.h"

#include <cstdlib>
#include <filesystem>

namespace prunus::test {
namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "prunus-test-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string source_path(const std::string& path) { return PRUNUS_SOURCE_DIR "/" + path; }

std::string shared_dir() {
  const char* given = std::getenv("PRUNUS_SHARED");
  const std::string path = given != nullptr ? given : PRUNUS_SOURCE_DIR "/../shared";
  return fs::is_directory(path) ? path : "";
}

std::string real_models_dir() {
  const char* given = std::getenv("PRUNUS_REAL_MODELS");
  return given != nullptr ? given : PRUNUS_SOURCE_DIR "/build/models";
}

}  // namespace prunus::test
