#pragma once
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "prunus/base/error.h"

namespace prunus::staging {

// What a staged directory and a staged file have in common: names inside the folder that holds the
// work, and its moves.

inline constexpr const char* kLock = "/lock";
inline constexpr const char* kOut = "/out";  ///< the result under way

/// Whether there is anything of this name, a dangling link too.
inline bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
}

/// The folder that a path lies in; "." of a bare name.
inline std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

/// Throws Io.
inline void rename_path(const std::string& from, const std::string& to) {
  PRUNUS_CHECK(std::rename(from.c_str(), to.c_str()) == 0, Io, to, ": cannot rename ", from,
               " to it: ", std::strerror(errno));
}

}  // namespace prunus::staging
