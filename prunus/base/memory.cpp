#include "prunus/base/memory.h"

#include <algorithm>
#include <fstream>
#include <malloc.h>
#include <optional>
#include <string>

namespace prunus {

uint64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

void return_large_blocks() { ::mallopt(M_MMAP_THRESHOLD, 1 << 20); }

namespace {

// A number in a file of the control group's file system; nothing where it says "max" or is absent.
std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

}  // namespace

uint64_t available_memory_bytes() {
  uint64_t available = uint64_t{1} << 30;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("MemAvailable:")) available = std::stoull(line.substr(13)) * 1024;
  }
  const auto limit = number_in("/sys/fs/cgroup/memory.max");
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  if (limit && used) available = std::min(available, *limit - std::min(*limit, *used));
  return available;
}

}  // namespace prunus
