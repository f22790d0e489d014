#include "prunus/base/file_lock.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr int kLockTries = 100;  // each lost to a process that removed the file in between

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

// What the holder writes into the file: for messages, and to know its own host's dead processes.
std::string signature() { return c10::str(::getpid(), " ", host_name(), "\n"); }

void sign(int file) {
  const std::string text = signature();
  // A lock that cannot say whose it is (full disk) is a lock all the same.
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, text.data(), text.size(), 0) < 0) return;
}

struct Holder {
  int process = 0;
  std::string host;
};

std::optional<Holder> read_holder(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  std::array<char, 300> text{};
  const ssize_t got = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (got <= 0) return std::nullopt;
  const std::string line(text.data());
  const size_t space = line.find(' ');
  const size_t end = line.find('\n');
  if (space == std::string::npos || end == std::string::npos || space > 10) return std::nullopt;
  for (size_t i = 0; i < space; ++i) {
    if (line[i] < '0' || line[i] > '9') return std::nullopt;
  }
  if (space == 0) return std::nullopt;
  return Holder{static_cast<int>(std::strtol(line.c_str(), nullptr, 10)),
                line.substr(space + 1, end - space - 1)};
}

bool is_dead(const Holder& holder) {
  return holder.host == host_name() && ::kill(holder.process, 0) != 0 && errno == ESRCH;
}

bool flock_is_missing(int error) {
  return error == ENOLCK || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL ||
         error == EBADF;
}

// The file may have been removed, or made anew, since it was opened.
bool still_there(int file, const std::string& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(file, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

int open_or_make(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  PRUNUS_CHECK(file >= 0 || errno != ENOENT, NotFound, path, ": its folder is not there");
  PRUNUS_CHECK(file >= 0, Io, path, ": cannot create: ", std::strerror(errno));
  return file;
}

}  // namespace

std::optional<FileLock> FileLock::take(const std::string& path) {
  for (int tries = 0; tries < kLockTries; ++tries) {
    FileLock lock(open_or_make(path), "");
    if (::flock(lock.file_, LOCK_EX | LOCK_NB) == 0) {
      if (!still_there(lock.file_, path)) continue;
      sign(lock.file_);
      return lock;
    }
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return std::nullopt;
    PRUNUS_CHECK(flock_is_missing(errno), Io, path, ": cannot lock: ", std::strerror(errno));
    return take_by_name(path);
  }
  PRUNUS_FAIL(Io, path, ": cannot lock: it was removed ", kLockTries,
              " times while this was tried");
}

std::optional<FileLock> FileLock::take_in(const std::string& folder) {
  for (int tries = 0;; ++tries) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    // Seen by mkdir, and gone with its owner when it was looked at.
    std::error_code ignored;
    const auto type = std::filesystem::status(folder, ignored).type();
    const bool blocked = type != std::filesystem::file_type::not_found &&
                         type != std::filesystem::file_type::directory;
    if (error == std::errc::file_exists && !blocked && tries < kLockTries) continue;
    PRUNUS_CHECK(!error, Io, folder, ": cannot create directory: ", error.message());
    try {
      return take(folder + "/lock");
    } catch (const Error& missing) {
      if (missing.kind() != ErrorKind::NotFound || tries >= kLockTries) throw;
    }
  }
}

std::optional<FileLock> FileLock::take_by_name(const std::string& path) {
  const std::string held = path + ".held";
  for (int tries = 0; tries < kLockTries; ++tries) {
    const int file = ::open(held.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file >= 0) {
      sign(file);
      return FileLock(file, held);
    }
    PRUNUS_CHECK(errno != ENOENT, NotFound, held, ": its folder is not there");
    PRUNUS_CHECK(errno == EEXIST, Io, held, ": cannot create: ", std::strerror(errno));
    const auto owner = read_holder(held);
    if (!owner || !is_dead(*owner)) return std::nullopt;
    ::unlink(held.c_str());
  }
  return std::nullopt;
}

std::string FileLock::holder(const std::string& path) {
  auto owner = read_holder(path + ".held");
  if (!owner) owner = read_holder(path);
  if (!owner) return "another process";
  return c10::str("process ", owner->process, " on ", owner->host);
}

FileLock::FileLock(FileLock&& other) noexcept
    : file_(std::exchange(other.file_, -1)), held_(std::exchange(other.held_, {})) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(held_, other.held_);
  return *this;
}

FileLock::~FileLock() {
  if (!held_.empty()) ::unlink(held_.c_str());
  if (file_ >= 0) ::close(file_);
}

}  // namespace prunus
