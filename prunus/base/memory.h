#pragma once
#include <cstdint>

namespace prunus {

/// Peak resident set size of this process in bytes (VmHWM; mapped file pages included).
uint64_t peak_memory_bytes();

}  // namespace prunus
