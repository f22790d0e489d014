#pragma once
#include <cstdlib>
#include <filesystem>
#include <string>

namespace prunus::test {

/// A fresh directory, removed with everything in it at the end of the scope.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// A file of the repository, from its root.
std::string source_path(const std::string& path);

/// Where the real models, corpora and goldens are: $PRUNUS_SHARED, else ../shared beside the
/// repository; empty where there is none.
std::string shared_dir();

/// Where tools/real_models.sh leaves its models: $PRUNUS_REAL_MODELS, else build/models.
std::string real_models_dir();

}  // namespace prunus::test

/// First line of every `real` test: `const std::string shared = ...; PRUNUS_NEED_SHARED(shared);`
/// Skips where the folder is absent; with $PRUNUS_NEED_SHARED set that is a failure.
#define PRUNUS_NEED_SHARED(shared)                                                              \
  if ((shared).empty()) {                                                                       \
    if (std::getenv("PRUNUS_NEED_SHARED") != nullptr) FAIL() << "the shared folder is absent";  \
    GTEST_SKIP() << "skipped: no ../shared beside the repository and PRUNUS_SHARED is not set"; \
  }

/// Likewise for a file of tools/real_models.sh, with $PRUNUS_NEED_REAL_MODELS.
#define PRUNUS_NEED_REAL_MODEL(path)                                                         \
  if (!std::filesystem::exists(path)) {                                                      \
    if (std::getenv("PRUNUS_NEED_REAL_MODELS") != nullptr) FAIL() << (path) << " is absent"; \
    GTEST_SKIP() << "skipped: no " << (path) << "; tools/real_models.sh fetches it";         \
  }
