#pragma once
#include <cstdint>
#include <optional>

#include <c10/core/Device.h>

namespace prunus {

/// Peak resident set size of this process in bytes (VmHWM; mapped file pages included).
uint64_t peak_memory_bytes();

/// Resident set size of this process now, in bytes (VmRSS; mapped file pages included).
uint64_t resident_memory_bytes();

/// Most bytes that tensors on an accelerator held at once in this process. Nothing for the CPU, and
/// with a libtorch before 2.10, which tells it for CUDA alone.
std::optional<uint64_t> peak_device_bytes(c10::Device device);

/// Makes malloc give every block of a megabyte or more back to the system when it is freed, instead
/// of raising that bound by itself and growing a heap with holes in it: activations of a layer are
/// such blocks, and with 80 layers the holes were half a gigabyte. For a program's start.
void return_large_blocks();

/// The opposite: blocks of up to 32 MiB stay in the heap when they are freed. For work whose block
/// sizes change all the time; it takes a quarter more memory. Where the same sizes come again,
/// reuse_tensor_memory() does as well and takes none.
void keep_large_blocks();

/// Memory that new work may take without swapping, in bytes (MemAvailable, and what is left of the
/// control group's limit where there is one).
uint64_t available_memory_bytes();

}  // namespace prunus
