#include "prunus/recover/durable_tensors.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

#include "prunus/base/error.h"
#include "prunus/calib/stream_store.h"

namespace prunus {

void flush_to_disk(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  PRUNUS_CHECK(file >= 0, Io, path, ": cannot open: ", std::strerror(errno));
  // Not every file system can flush a directory.
  const bool done = ::fsync(file) == 0 || errno == EINVAL || errno == EROFS;
  const int why = errno;
  ::close(file);
  PRUNUS_CHECK(done, Io, path, ": cannot flush to the disk: ", std::strerror(why));
}

void save_durably(const std::string& path, const std::vector<at::Tensor>& tensors) {
  save_tensors(path, tensors);
  flush_to_disk(path);
  flush_to_disk(std::filesystem::absolute(path).parent_path().string());
}

}  // namespace prunus
