#pragma once
#include <optional>
#include <string>

namespace prunus {

/// A lock that one process at a time holds, by a file. It is `flock` where the file system has it:
/// gone with its process, and on NFS seen by every host. Where there is none (some network and FUSE
/// mounts), a file "<path>.held" that only one process can create stands for it; one that a killed
/// process of this host left is taken over.
class FileLock {
 public:
  /// Takes the lock; nothing where another process holds it. Makes the file where it is missing.
  /// Throws Io where it cannot be made or locked; NotFound where its folder is not there.
  static std::optional<FileLock> take(const std::string& path);
  /// Makes the folder where it is missing and takes the lock of "<folder>/lock" in it, also where
  /// the one who holds it removes the folder meanwhile. Throws Io.
  static std::optional<FileLock> take_in(const std::string& folder);
  /// As take, by "<path>.held" alone.
  static std::optional<FileLock> take_by_name(const std::string& path);
  /// Who holds the lock of this path, "process 12 on host", or "another process" where it does not
  /// say.
  static std::string holder(const std::string& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  /// Lets go. The locked file stays; whoever removes it does so while it holds the lock.
  ~FileLock();

 private:
  FileLock(int file, std::string held) : file_(file), held_(std::move(held)) {}
  int file_;
  std::string held_;  // "<path>.held", or empty
};

}  // namespace prunus
