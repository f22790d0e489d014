#include "prunus/io/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "prunus/base/descriptor.h"
#include "prunus/base/error.h"

namespace prunus {

MappedFile MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  PRUNUS_CHECK(file || (errno != ENOENT && errno != ENOTDIR), NotFound, path, ": no such file");
  PRUNUS_CHECK(file, Io, path, ": cannot open: ", std::strerror(errno));
  struct stat info {};
  PRUNUS_CHECK(::fstat(file.fd(), &info) == 0, Io, path, ": cannot stat: ", std::strerror(errno));
  PRUNUS_CHECK(S_ISREG(info.st_mode), Io, path, ": not a regular file");
  const auto size_bytes = static_cast<uint64_t>(info.st_size);
  if (size_bytes == 0) return MappedFile(path, nullptr, 0);
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  PRUNUS_CHECK(data != MAP_FAILED, Io, path, ": cannot map ", size_bytes,
               " bytes: ", std::strerror(errno));
  return MappedFile(path, static_cast<const std::byte*>(data), size_bytes);
}

MappedFile::MappedFile(std::string path, const std::byte* data, uint64_t size_bytes)
    : path_(std::move(path)), data_(data), size_bytes_(size_bytes) {}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  return *this;
}

MappedFile::~MappedFile() { unmap(); }

void MappedFile::unmap() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

void MappedFile::advise(uint64_t begin, uint64_t end, int advice) const {
  end = std::min(end, size_bytes_);
  if (begin >= end) return;
  // madvise rounds the length up to whole pages by itself; the start must be a page's.
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  begin -= begin % page;
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, advice);
}

void MappedFile::prefetch(uint64_t begin, uint64_t end) const { advise(begin, end, MADV_WILLNEED); }

void MappedFile::discard(uint64_t begin, uint64_t end) const { advise(begin, end, MADV_DONTNEED); }

}  // namespace prunus
