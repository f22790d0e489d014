#include "prunus/base/memory.h"

#include <fstream>
#include <malloc.h>
#include <string>

namespace prunus {

uint64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace prunus
