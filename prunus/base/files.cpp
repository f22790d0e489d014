#include "prunus/base/files.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <signal.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <openssl/evp.h>

#include "prunus/base/error.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

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

}  // namespace

std::string read_file(const std::string& path, uint64_t max_bytes) {
  const Descriptor file{open_for_reading(path)};
  struct stat info {};
  PRUNUS_CHECK(::fstat(file.fd, &info) == 0, Io, path, ": cannot stat: ", std::strerror(errno));
  PRUNUS_CHECK(!S_ISDIR(info.st_mode), NotFound, path, ": is a directory, expected a file");
  std::string content;
  std::array<char, 65536> buffer;
  if (S_ISREG(info.st_mode)) {
    PRUNUS_CHECK(static_cast<uint64_t>(info.st_size) <= max_bytes, Corrupt, path, ": has ",
                 info.st_size, " bytes, at most ", max_bytes, " expected here");
    content.reserve(static_cast<size_t>(info.st_size));
  }
  while (const size_t got = read_some(file.fd, buffer.data(), buffer.size(), path)) {
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
    PRUNUS_CHECK(file.fd >= 0, Io, temporary, ": cannot create: ", std::strerror(errno));
    write_all(file.fd, content, temporary);
    PRUNUS_CHECK(::fsync(file.fd) == 0, Io, temporary, ": cannot sync: ", std::strerror(errno));
    PRUNUS_CHECK(::rename(temporary.c_str(), path.c_str()) == 0, Io, path,
                 ": cannot rename into place: ", std::strerror(errno));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

std::string sha256_file(const std::string& path) {
  const Descriptor file{open_for_reading(path)};
  Digest digest;
  std::string buffer(size_t{1} << 20, '\0');
  while (const size_t got = read_some(file.fd, buffer.data(), buffer.size(), path)) {
    digest.add(buffer.data(), got);
  }
  return digest.hex();
}

std::string sha256(std::string_view bytes) {
  Digest digest;
  digest.add(bytes.data(), bytes.size());
  return digest.hex();
}

namespace {

// Staging directories of processes that were killed before they could clean up.
void remove_abandoned(const fs::path& final_path) {
  const std::string prefix = final_path.filename().string() + ".partial-";
  const fs::path parent = final_path.has_parent_path() ? final_path.parent_path() : ".";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const std::string digits = name.substr(prefix.size());
    const bool number = !digits.empty() && digits.size() < 10 &&
                        digits.find_first_not_of("0123456789") == digits.npos;
    const bool dead = number && ::kill(std::stoi(digits), 0) != 0 && errno == ESRCH;
    std::error_code ignored;
    if (dead) fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace

StagedDirectory::StagedDirectory(std::string path, bool replace)
    : path_(std::move(path)), replace_(replace) {
  PRUNUS_CHECK(!path_.empty(), InvalidArgument, "--out is empty, expected a directory to write");
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  std::error_code ignored;
  const bool occupied = fs::exists(path_, ignored) &&
                        !(fs::is_directory(path_, ignored) && fs::is_empty(path_, ignored));
  PRUNUS_CHECK(!occupied || replace_, InvalidArgument, path_,
               ": already exists; choose another --out, or pass --force to replace it");
  remove_abandoned(path_);
  staging_ = c10::str(path_, ".partial-", ::getpid());
  std::error_code error;
  fs::remove_all(staging_, ignored);
  for (fs::path parent = fs::path(staging_).parent_path();
       !parent.empty() && !fs::exists(parent, ignored); parent = parent.parent_path()) {
    made_parents_.push_back(parent.string());
  }
  fs::create_directories(staging_, error);
  PRUNUS_CHECK(!error, Io, staging_, ": cannot create directory: ", error.message());
}

StagedDirectory::~StagedDirectory() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
  for (const std::string& parent : made_parents_) fs::remove(parent, ignored);
}

void StagedDirectory::commit() {
  std::error_code error;
  const std::string old = c10::str(path_, ".replaced-", ::getpid());
  const bool existed = fs::exists(path_, error);
  if (existed) fs::rename(path_, old, error);
  PRUNUS_CHECK(!error, Io, path_, ": cannot move the old result aside: ", error.message());
  fs::rename(staging_, path_, error);
  if (error && existed) {
    std::error_code ignored;
    fs::rename(old, path_, ignored);
  }
  PRUNUS_CHECK(!error, Io, path_, ": cannot rename the result into place: ", error.message());
  committed_ = true;
  if (existed) fs::remove_all(old, error);
}

}  // namespace prunus
