#include "prunus/base/staged_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/staging.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

using staging::exists;
using staging::kLock;
using staging::kOut;
using staging::parent_of;
using staging::rename_path;

// A link stays one: what it points to is replaced.
std::string target_of(const std::string& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  const fs::path target = fs::weakly_canonical(path, error);
  return error ? path : target.string();
}

bool same_file(const std::string& one, const std::string& other) {
  std::error_code error;
  return fs::equivalent(one, other, error) && !error;
}

}  // namespace

StagedFile::StagedFile(Options options)
    : path_(target_of(options.path)),
      replace_(options.replace),
      holder_(path_ + ".partial"),
      staging_(holder_ + kOut) {
  PRUNUS_CHECK(!path_.empty(), InvalidArgument, "--out is empty, expected a file to write");
  for (const std::string& input : options.inputs) {
    PRUNUS_CHECK(input.empty() || !same_file(path_, input), InvalidArgument, "--out ", path_,
                 ": is an input of this run (", input, "); choose another file");
  }
  check_place();
  std::error_code error;
  fs::create_directories(parent_of(path_), error);
  PRUNUS_CHECK(!error, Io, parent_of(path_), ": cannot create directory: ", error.message());
  PRUNUS_CHECK(!exists(holder_) || exists(holder_ + kLock) || fs::is_empty(holder_, error),
               InvalidArgument, holder_,
               ": holds files that are not of an interrupted prunus run; move them away, or choose "
               "another --out");
  lock_ = FileLock::take_in(holder_);
  PRUNUS_CHECK(lock_, InvalidArgument, path_, ": another run is writing it (",
               FileLock::holder(holder_ + kLock), "); wait for it, or choose another --out");
  fs::remove_all(staging_, error);
  if (!error) fs::create_directories(staging_, error);
  PRUNUS_CHECK(!error, Io, staging_, ": cannot make the staging folder: ", error.message());
}

StagedFile::~StagedFile() { clean_up(); }

void StagedFile::check_place() const {
  std::error_code ignored;
  PRUNUS_CHECK(!fs::is_directory(path_, ignored), InvalidArgument, path_,
               ": is a directory, expected the name of a file; choose another --out");
  PRUNUS_CHECK(!exists(path_) || fs::is_regular_file(path_, ignored), InvalidArgument, path_,
               ": is no regular file; choose another --out");
  for (const std::string& path : {path_, beside(path_, "run.json"), beside(path_, "plan.json")}) {
    PRUNUS_CHECK(replace_ || !exists(path), InvalidArgument, path,
                 ": already exists; choose another --out, or pass --force to replace it");
  }
}

std::string StagedFile::file_path() const {
  return staging_ + "/" + fs::path(path_).filename().string();
}

std::string StagedFile::beside(const std::string& path, const std::string& name) {
  return fs::path(path).replace_extension().string() + "." + name;
}

void StagedFile::commit() {
  check_place();
  const std::string result = file_path();
  sync_tree(staging_);
  for (const auto& entry : fs::directory_iterator(staging_)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && entry.path() != fs::path(result)) {
      rename_path(entry.path().string(), beside(path_, name));
    }
  }
  if (exists(result)) rename_path(result, path_);
  clean_up();
  sync_path(parent_of(path_));
}

void StagedFile::clean_up() {
  std::error_code ignored;
  if (lock_) {
    fs::remove_all(staging_, ignored);
    fs::remove(holder_ + kLock, ignored);
    lock_.reset();
  }
  fs::remove(holder_, ignored);
}

}  // namespace prunus
