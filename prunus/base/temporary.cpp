#include "prunus/base/temporary.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <unistd.h>

#include "prunus/base/error.h"

namespace prunus {

std::string temporary_folder(const std::string& instead) {
  namespace fs = std::filesystem;
  const char* given = std::getenv("TMPDIR");
  const std::string path = given == nullptr || *given == '\0' ? "/tmp" : given;
  std::error_code ignored;
  PRUNUS_CHECK(fs::is_directory(path, ignored), InvalidArgument, "TMPDIR ", path,
               ": no such folder, expected one for temporary files; set TMPDIR, or ", instead);
  PRUNUS_CHECK(::access(path.c_str(), W_OK | X_OK) == 0, InvalidArgument, "TMPDIR ", path,
               ": cannot write there: ", std::strerror(errno), "; set TMPDIR, or ", instead);
  return path;
}

}  // namespace prunus
