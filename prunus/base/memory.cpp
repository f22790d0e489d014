#include "prunus/base/memory.h"

#include <algorithm>
#include <fstream>
#include <malloc.h>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include <torch/version.h>

#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 10
#include <c10/core/CachingDeviceAllocator.h>
#define PRUNUS_DEVICE_STATS
#endif

namespace prunus {

namespace {

// A size in this process's status file, in bytes.
uint64_t own_size(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size())) * 1024;
  }
  return 0;
}

}  // namespace

uint64_t peak_memory_bytes() { return own_size("VmHWM:"); }

uint64_t resident_memory_bytes() { return own_size("VmRSS:"); }

std::optional<uint64_t> peak_device_bytes([[maybe_unused]] c10::Device device) {
#ifdef PRUNUS_DEVICE_STATS
  if (device.is_cpu()) return std::nullopt;
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (allocator == nullptr || !allocator->initialized()) return std::nullopt;
  const auto index = device.has_index() ? device.index() : c10::DeviceIndex{0};
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<uint64_t>(allocator->getDeviceStats(index).allocated_bytes[kAll].peak);
#else
  return std::nullopt;
#endif
}

void return_large_blocks() { ::mallopt(M_MMAP_THRESHOLD, 1 << 20); }

void keep_large_blocks() {
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

namespace {

// A number in a file of the control group's file system; nothing where it says "max" or is absent.
std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

// Cached file pages, which the system gives up for new work.
uint64_t reclaimable(const std::string& stat_file) {
  std::ifstream file(stat_file);
  uint64_t bytes = 0;
  std::string key;
  for (uint64_t value = 0; file >> key >> value;) {
    if (key == "inactive_file" || key == "active_file") bytes += value;
  }
  return bytes;
}

}  // namespace

uint64_t available_memory_bytes() {
  uint64_t available = uint64_t{1} << 30;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("MemAvailable:")) available = std::stoull(line.substr(13)) * 1024;
  }
  // Version 2, then 1, as a container sees its own group.
  for (const auto& [folder, limit_file, used_file] :
       {std::tuple{"/sys/fs/cgroup/", "memory.max", "memory.current"},
        std::tuple{"/sys/fs/cgroup/memory/", "memory.limit_in_bytes", "memory.usage_in_bytes"}}) {
    const auto limit = number_in(std::string(folder) + limit_file);
    const auto used = number_in(std::string(folder) + used_file);
    if (!limit || !used) continue;
    const uint64_t taken =
        *used - std::min(*used, reclaimable(std::string(folder) + "memory.stat"));
    available = std::min(available, *limit - std::min(*limit, taken));
  }
  return available;
}

}  // namespace prunus
