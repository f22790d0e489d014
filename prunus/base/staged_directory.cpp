#include "prunus/base/staged_directory.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <set>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/base/run_schema.h"
#include "prunus/base/staging.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

using staging::exists;
using staging::kLock;
using staging::kOut;
using staging::parent_of;
using staging::rename_path;

constexpr const char* kHolder = ".prunus-partial";
constexpr const char* kOld = "/old";        // the earlier one while a commit moves files
constexpr const char* kCommit = "/commit";  // the result is complete: a later run finishes the move
constexpr uint64_t kRecordBytes = uint64_t{1} << 30;
constexpr int kNumbers = 100;

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// What a fresh file system has, and our own folder, are in nobody's way.
bool counts(const fs::path& entry) {
  const std::string name = entry.filename().string();
  return name != "lost+found" && name != kHolder;
}

std::vector<fs::path> entries_of(const std::string& dir) {
  std::vector<fs::path> entries;
  std::error_code error;
  fs::directory_iterator item(dir, error);
  for (; !error && item != fs::directory_iterator(); item.increment(error)) {
    if (counts(item->path())) entries.push_back(item->path());
  }
  PRUNUS_CHECK(!error, Io, dir, ": cannot list the directory: ", error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

// The files that the record in `dir` says are the run's; nothing where there is no such record.
std::optional<std::set<std::string>> recorded_files(const std::string& dir) {
  try {
    const Json record = read_json(dir + "/run.json", kRecordBytes);
    if (!is_run(record)) return std::nullopt;
    return record.at(run_key::kFiles).get<std::set<std::string>>();
  } catch (const Error&) {
    return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

// The first file in `dir` that no run has written; empty where there is none.
std::string foreign_file(const std::string& dir) {
  const auto files = recorded_files(dir);
  std::error_code error;
  fs::recursive_directory_iterator item(dir, error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) {
    if (item.depth() == 0 && !counts(item->path())) {
      item.disable_recursion_pending();
      continue;
    }
    std::error_code ignored;
    const bool folder = item->is_directory(ignored) && !item->is_symlink(ignored);
    const std::string name = fs::path(item->path()).lexically_relative(dir).string();
    if (folder && files && !fs::is_empty(item->path(), ignored)) continue;
    if (!files || !files->contains(name)) return name;
  }
  PRUNUS_CHECK(!error, Io, dir, ": cannot list the directory: ", error.message());
  return "";
}

void check_replaceable(const std::string& path) {
  const std::string name = foreign_file(path);
  PRUNUS_CHECK(name.empty(), InvalidArgument, path, ": holds '", name,
               "', which no prunus run has written (run.json lists what one has); --force replaces "
               "only an earlier result. Choose another --out, or move that away");
}

fs::path resolved(const std::string& path) {
  std::error_code error;
  fs::path full = fs::weakly_canonical(path, error);
  if (error) full = fs::absolute(path, error).lexically_normal();
  return full.has_filename() ? full : full.parent_path();
}

bool lies_in(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

void check_input(const std::string& out, const std::string& input) {
  std::error_code ignored;
  if (input.empty()) return;
  const fs::path a = resolved(out);
  const fs::path b = resolved(input);
  PRUNUS_CHECK(a != b, InvalidArgument, "--out ", out, ": is an input of this run (", input,
               "); choose another directory");
  PRUNUS_CHECK(!lies_in(b, a), InvalidArgument, "--out ", out, ": holds an input of this run (",
               input, "); choose another directory");
  PRUNUS_CHECK(!lies_in(a, b) || !fs::is_directory(b, ignored), InvalidArgument, "--out ", out,
               ": lies in an input of this run (", input, "); choose a directory outside of it");
}

// Directories that a rename cannot replace: roots of mounts, and those whose parent is read-only.
bool needs_filling(const std::string& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &info) == 0 &&
      (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) {
    return true;
  }
  struct stat own {};
  struct stat parent {};
  const std::string above = path + "/..";
  if (::stat(path.c_str(), &own) != 0 || ::stat(above.c_str(), &parent) != 0) return false;
  return own.st_dev != parent.st_dev || own.st_ino == parent.st_ino ||
         ::access(above.c_str(), W_OK) != 0;
}

// The record goes last: with it a directory is a result.
void move_entries(const std::string& from, const std::string& to) {
  std::vector<fs::path> entries = entries_of(from);
  const auto rank = [](const fs::path& path) {
    return path.filename() == "run.json" ? 2 : path.filename() == "config.json" ? 1 : 0;
  };
  std::stable_sort(entries.begin(), entries.end(),
                   [&](const fs::path& a, const fs::path& b) { return rank(a) < rank(b); });
  for (const fs::path& entry : entries) {
    rename_path(entry.string(), to + "/" + entry.filename().string());
  }
  sync_path(to);
}

void make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  PRUNUS_CHECK(!error, Io, path, ": cannot create directory: ", error.message());
}

}  // namespace

StagedDirectory::StagedDirectory(Options options)
    : path_(std::move(options.path)), replace_(options.replace) {
  PRUNUS_CHECK(!path_.empty(), InvalidArgument, "--out is empty, expected a directory to write");
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  for (const std::string& input : options.inputs) check_input(path_, input);
  std::error_code error;
  if (fs::is_symlink(path_, error)) {
    PRUNUS_CHECK(fs::exists(path_, error), InvalidArgument, path_,
                 ": is a link to nothing; make its target, or choose another --out");
    path_ = resolved(path_).string();
  }
  choose_holder();
  for (const std::string& input : options.inputs) check_input(holder_, input);
  try {
    if (!exists(holder_)) check_place();
    take_lock();
    prepare();
  } catch (...) {
    clean_up();
    throw;
  }
}

void StagedDirectory::check_place() {
  if (!exists(path_)) return;
  PRUNUS_CHECK(is_directory(path_), InvalidArgument, path_,
               ": already exists and is no directory; choose another --out");
  if (entries_of(path_).empty()) return;
  PRUNUS_CHECK(replace_, InvalidArgument, path_,
               ": already exists; choose another --out, or pass --force to replace it");
  check_replaceable(path_);
}

void StagedDirectory::choose_holder() {
  in_place_ = is_directory(path_) && needs_filling(path_);
  holder_ = in_place_ ? path_ + "/" + kHolder : path_ + ".partial";
  staging_ = holder_ + kOut;
}

void StagedDirectory::take_lock() {
  std::error_code ignored;
  PRUNUS_CHECK(!exists(holder_) || is_directory(holder_), InvalidArgument, holder_,
               ": is in the way of a staging folder; move it away or choose another --out");
  PRUNUS_CHECK(!exists(holder_) || fs::is_empty(holder_, ignored) || exists(holder_ + kLock),
               InvalidArgument, holder_,
               ": holds files that are not of an interrupted prunus run; move them away, or choose "
               "another --out");
  for (fs::path parent = fs::path(holder_).parent_path();
       !parent.empty() && !exists(parent.string()); parent = parent.parent_path()) {
    made_parents_.push_back(parent.string());
  }
  lock_ = FileLock::take_in(holder_);
  PRUNUS_CHECK(lock_, InvalidArgument, path_, ": another run is writing it (",
               FileLock::holder(holder_ + kLock), "); wait for it, or choose another --out");
}

// Finishes the commit of a killed run, or removes what it left; then looks again, since another run
// may have finished before the lock was ours.
void StagedDirectory::prepare() {
  const bool complete = exists(holder_ + kCommit) && is_directory(staging_);
  if (in_place_ && complete) move_entries(staging_, path_);
  if (in_place_ && !complete && is_directory(holder_ + kOld)) move_entries(holder_ + kOld, path_);
  if (!in_place_ && complete && !exists(path_)) rename_path(staging_, path_);
  std::error_code error;
  for (const char* part : {kCommit, kOut, kOld}) {
    fs::remove_all(holder_ + part, error);
    PRUNUS_CHECK(!error, Io, holder_, part,
                 ": cannot remove what an earlier run left: ", error.message());
  }
  check_place();
  make_directory(staging_);
}

StagedDirectory::~StagedDirectory() { clean_up(); }

// The lock goes last, and only by who holds it; fs::remove takes no directory that holds anything.
void StagedDirectory::clean_up() {
  std::error_code ignored;
  if (lock_) {
    for (const char* part : {kCommit, kOut, kOld}) fs::remove_all(holder_ + part, ignored);
    fs::remove(holder_ + kLock, ignored);
    lock_.reset();
  }
  fs::remove(holder_, ignored);
  for (const std::string& parent : made_parents_) fs::remove(parent, ignored);
}

void StagedDirectory::commit() {
  try {
    sync_tree(staging_);
    if (exists(path_) && !entries_of(path_).empty()) {
      PRUNUS_CHECK(replace_, InvalidArgument, path_,
                   ": something was put there while this run was at work");
      check_replaceable(path_);
    }
    put_in_place();
  } catch (const Error& error) {
    throw Error(error.kind(), c10::str(error.what(), rescue()));
  }
  made_parents_.clear();
  clean_up();
  sync_path(parent_of(path_));
}

void StagedDirectory::put_in_place() {
  if (in_place_) return move_up();
  const bool stands = exists(path_);
  const unsigned how = stands && replace_ ? RENAME_EXCHANGE : stands ? 0 : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, path_.c_str(), how) == 0) return;
  const bool unknown = errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
  PRUNUS_CHECK(unknown && how != 0, Io, path_,
               ": cannot rename the result into place: ", std::strerror(errno));
  swap_in_two_steps();
}

// For file systems without those modes. A run that finds the mark and no output ends the move.
void StagedDirectory::swap_in_two_steps() {
  write_file(holder_ + kCommit, "");
  const bool stands = exists(path_);
  if (stands) rename_path(path_, holder_ + kOld);
  try {
    rename_path(staging_, path_);
  } catch (...) {
    if (stands) rename_path(holder_ + kOld, path_);
    throw;
  }
}

// File by file, into a directory that stays. With the mark there the next run ends it, without it
// the next run moves the old files back.
void StagedDirectory::move_up() {
  const std::string old = holder_ + kOld;
  try {
    make_directory(old);
    move_entries(path_, old);
    write_file(holder_ + kCommit, "");
  } catch (...) {
    move_entries(old, path_);
    throw;
  }
  move_entries(staging_, path_);
}

// Where the finished result went when its name could not be had.
std::string StagedDirectory::rescue() {
  if (!is_directory(staging_)) return "";
  std::error_code error;
  for (int number = 1; number < kNumbers; ++number) {
    const char* name = in_place_ ? "/.prunus-result-" : ".result-";
    const std::string place = c10::str(path_, name, number);
    if (exists(place)) continue;
    fs::rename(staging_, place, error);
    if (!error) return c10::str("; the finished result is kept in ", place);
    break;
  }
  lock_.reset();  // so that nothing is cleaned up
  return c10::str("; the finished result is kept in ", staging_,
                  " until the next run on this --out");
}

}  // namespace prunus
