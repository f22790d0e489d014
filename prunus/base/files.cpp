#include "prunus/base/files.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <openssl/evp.h>

#include "prunus/base/descriptor.h"
#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/quantity.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

int open_for_reading(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  PRUNUS_CHECK(fd >= 0 || errno != ENOENT, NotFound, path, ": no such file");
  PRUNUS_CHECK(fd >= 0, Io, path, ": cannot open: ", std::strerror(errno));
  return fd;
}

size_t read_some(int fd, char* buffer, size_t bytes, const std::string& path) {
  while (true) {
    const ssize_t got = ::read(fd, buffer, bytes);
    if (got < 0 && errno == EINTR) continue;
    PRUNUS_CHECK(got >= 0, Io, path, ": cannot read: ", std::strerror(errno));
    return static_cast<size_t>(got);
  }
}

class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(const char* bytes, size_t count) { EVP_DigestUpdate(context_.get(), bytes, count); }
  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    std::string text;
    for (const unsigned char byte : digest) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

void write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t wrote = ::write(fd, content.data(), content.size());
    if (wrote < 0 && errno == EINTR) continue;
    PRUNUS_CHECK(wrote > 0, Io, path, ": cannot write: ", std::strerror(errno));
    content.remove_prefix(static_cast<size_t>(wrote));
  }
}

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

std::string read_file(const std::string& path, uint64_t max_bytes) {
  const Descriptor file{open_for_reading(path)};
  struct stat info {};
  PRUNUS_CHECK(::fstat(file.fd(), &info) == 0, Io, path, ": cannot stat: ", std::strerror(errno));
  PRUNUS_CHECK(!S_ISDIR(info.st_mode), NotFound, path, ": is a directory, expected a file");
  std::string content;
  std::array<char, 65536> buffer;
  if (S_ISREG(info.st_mode)) {
    PRUNUS_CHECK(static_cast<uint64_t>(info.st_size) <= max_bytes, Corrupt, path, ": has ",
                 info.st_size, " bytes, at most ", max_bytes, " expected here");
    content.reserve(static_cast<size_t>(info.st_size));
  }
  while (const size_t got = read_some(file.fd(), buffer.data(), buffer.size(), path)) {
    content.append(buffer.data(), got);
    PRUNUS_CHECK(content.size() <= max_bytes, Corrupt, path, ": more than ", max_bytes, " bytes");
  }
  return content;
}

void write_file(const std::string& path, std::string_view content) {
  const std::string temporary = c10::str(path, ".partial-", ::getpid());
  try {
    const Descriptor file{
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    PRUNUS_CHECK(file.fd() >= 0, Io, temporary, ": cannot create: ", std::strerror(errno));
    write_all(file.fd(), content, temporary);
    PRUNUS_CHECK(::fsync(file.fd()) == 0, Io, temporary, ": cannot sync: ", std::strerror(errno));
    PRUNUS_CHECK(::rename(temporary.c_str(), path.c_str()) == 0, Io, path,
                 ": cannot rename into place: ", std::strerror(errno));
    sync_path(folder_of(path));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

std::string sha256_file(const std::string& path) {
  const Descriptor file{open_for_reading(path)};
  Digest digest;
  std::string buffer(size_t{1} << 20, '\0');
  while (const size_t got = read_some(file.fd(), buffer.data(), buffer.size(), path)) {
    digest.add(buffer.data(), got);
    check_interrupted();
  }
  return digest.hex();
}

std::string sha256(std::string_view bytes) {
  Digest digest;
  digest.add(bytes.data(), bytes.size());
  return digest.hex();
}

void sync_path(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  PRUNUS_CHECK(file.fd() >= 0, Io, path, ": cannot open: ", std::strerror(errno));
  const bool synced = ::fsync(file.fd()) == 0 || errno == EINVAL || errno == EROFS;
  PRUNUS_CHECK(synced, Io, path, ": cannot flush to the disk: ", std::strerror(errno));
}

void sync_tree(const std::string& dir) {
  std::error_code error;
  fs::recursive_directory_iterator item(dir, error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) {
    if (item->is_symlink(error)) continue;
    sync_path(item->path().string());
  }
  PRUNUS_CHECK(!error, Io, dir, ": cannot list the directory: ", error.message());
  sync_path(dir);
}

void require_space(const std::string& path, uint64_t bytes, const std::string& what) {
  std::error_code error;
  fs::path place = fs::absolute(path, error);
  while (!error && !fs::exists(place, error) && place.has_relative_path()) {
    place = place.parent_path();
  }
  const fs::space_info space = fs::space(place, error);
  if (error) return;
  PRUNUS_CHECK(space.available >= bytes, Io, path, ": ", what, " needs ",
               human_bytes(static_cast<int64_t>(bytes)), " on the disk, and ",
               human_bytes(static_cast<int64_t>(space.available)),
               " are free; make room or choose another place");
}

}  // namespace prunus
