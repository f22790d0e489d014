#pragma once
#include <cstdint>

namespace prunus {

/// Peak resident set size of this process in bytes (VmHWM; mapped file pages included).
uint64_t peak_memory_bytes();

/// Makes malloc keep freed blocks of up to 64 MiB for the next layer instead of returning them to
/// the system, which would fault in and clear every page again: about a tenth of a calibration's
/// time. For a program's main, before it allocates much.
void keep_freed_memory();

}  // namespace prunus
