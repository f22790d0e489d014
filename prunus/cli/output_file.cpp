#include "prunus/cli/output_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <sys/statvfs.h>
#include <unistd.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

// Where the bytes will stand.
fs::path written_to(const std::string& path) {
  std::error_code error;
  fs::path place = fs::weakly_canonical(fs::absolute(path, error), error);
  return error ? fs::path(path) : place;
}

bool same_file(const fs::path& one, const fs::path& other) {
  std::error_code ignored;
  return one == written_to(other.string()) || fs::equivalent(one, other, ignored);
}

void check_folder(const OutputFile& output, const fs::path& place) {
  const fs::path folder = place.parent_path();
  std::error_code ignored;
  PRUNUS_CHECK(fs::is_directory(folder, ignored), InvalidArgument, output.option, " ", output.path,
               ": no such folder ", folder.string(), "; make it first");
  PRUNUS_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, Io, output.option, " ", output.path,
               ": cannot write into ", folder.string(), ": ", std::strerror(errno));
  struct statvfs room {};
  const bool known = ::statvfs(folder.c_str(), &room) == 0 && room.f_blocks > 0;
  PRUNUS_CHECK(!known || room.f_bavail > 0, Io, output.option, " ", output.path,
               ": no space left in ", folder.string());
}

void check_inputs(const OutputFile& output, const fs::path& place,
                  const std::vector<std::string>& inputs) {
  std::error_code ignored;
  for (const std::string& input : inputs) {
    PRUNUS_CHECK(!same_file(place, input), InvalidArgument, output.option, " ", output.path,
                 ": is also read, as ", input, "; choose another name");
    const bool inside = fs::is_directory(input, ignored) && fs::exists(place, ignored) &&
                        fs::equivalent(place.parent_path(), input, ignored);
    PRUNUS_CHECK(!inside, InvalidArgument, output.option, " ", output.path,
                 ": is one of the files of ", input, ", which are read; choose another name");
  }
}

void check_one(const OutputFile& output, const std::vector<std::string>& inputs, bool force) {
  const fs::path place = written_to(output.path);
  std::error_code ignored;
  const bool exists = fs::exists(place, ignored);
  const bool folder = fs::is_directory(place, ignored) || output.path.back() == '/';
  PRUNUS_CHECK(!folder, InvalidArgument, output.option, " ", output.path,
               ": is a directory, expected a file name");
  check_folder(output, place);
  PRUNUS_CHECK(!exists || fs::is_regular_file(place, ignored), InvalidArgument, output.option, " ",
               output.path, ": is not a regular file; results go to stdout, too");
  check_inputs(output, place, inputs);
  PRUNUS_CHECK(!exists || force, InvalidArgument, output.option, " ", output.path,
               ": exists; --force replaces it");
}

}  // namespace

void check_outputs(const std::vector<OutputFile>& outputs, const std::vector<std::string>& inputs,
                   bool force) {
  std::set<fs::path> places;
  for (const OutputFile& output : outputs) {
    if (output.path.empty()) continue;
    check_one(output, inputs, force);
    PRUNUS_CHECK(places.insert(written_to(output.path)).second, InvalidArgument, output.option, " ",
                 output.path, ": another option names this file, too");
  }
}

void write_output(const OutputFile& output, std::string_view content) {
  if (!output.path.empty()) write_file(written_to(output.path).string(), content);
}

OutputLock::OutputLock(const std::vector<OutputFile>& outputs) {
  for (const OutputFile& output : outputs) {
    if (output.path.empty()) continue;
    const std::string path = output.path + ".lock";
    auto lock = FileLock::take(path);
    if (!lock) {
      release();
      PRUNUS_FAIL(InvalidArgument, output.option, " ", output.path, ": another run is writing it (",
                  FileLock::holder(path), "); wait for it, or choose another name");
    }
    locks_.emplace_back(path, std::move(*lock));
  }
}

OutputLock::~OutputLock() { release(); }

// Each file goes while its lock is held, so that nobody can hold a lock on a file that is gone.
void OutputLock::release() {
  std::error_code ignored;
  for (const auto& [path, lock] : locks_) std::filesystem::remove(path, ignored);
  locks_.clear();
}

}  // namespace prunus
