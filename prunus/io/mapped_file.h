#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace prunus {

/// A whole regular file mapped read-only. Pages are read when touched and belong to the page cache,
/// so a file larger than memory costs only what is in use. Writing through the mapping crashes.
/// A file that another process truncates while it is mapped raises SIGBUS on access: out of scope,
/// as for every reader that maps files. Prunus itself replaces files by rename, which is safe.
class MappedFile {
 public:
  /// Maps `path`; an empty file gives an empty span. Cost: no page is read.
  /// Throws NotFound where it does not exist; Io where it is not a regular file or the operating
  /// system refuses.
  static MappedFile open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  /// The content. The address is page aligned and constant until destruction or assignment.
  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

  /// Starts reading bytes [begin, end) in the background; returns at once. Rounded outwards to
  /// whole pages and cut to the file. Advice: never fails.
  void prefetch(uint64_t begin, uint64_t end) const;

  /// Takes the pages that hold any of the bytes [begin, end) out of this process's resident set.
  /// They stay readable: the next access brings them back, from the page cache or the disk. Cut to
  /// the file. Advice: never fails.
  void discard(uint64_t begin, uint64_t end) const;

 private:
  MappedFile(std::string path, const std::byte* data, uint64_t size_bytes);
  void advise(uint64_t begin, uint64_t end, int advice) const;
  void unmap();

  std::string path_;
  const std::byte* data_ = nullptr;
  uint64_t size_bytes_ = 0;
};

}  // namespace prunus
