#pragma once
#include <cstdint>

namespace prunus {

/// Peak resident set size of this process in bytes (VmHWM; mapped file pages included).
uint64_t peak_memory_bytes();

/// Memory that new work may take without swapping, in bytes (MemAvailable, and what is left of the
/// control group's limit where there is one).
uint64_t available_memory_bytes();

}  // namespace prunus
