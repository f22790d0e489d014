#include "prunus/base/block_cache.h"

#include <algorithm>
#include <cstdlib>
#include <sys/mman.h>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include "prunus/base/sanitizer.h"

namespace prunus {
namespace {

constexpr size_t kPage = 4096;

bool page_aligned(const void* block) { return reinterpret_cast<uintptr_t>(block) % kPage == 0; }

// Of large blocks the system zeroes and maps two megabytes at a time where it may, not a page.
void* new_block(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes < 2 * kHugePage) return std::aligned_alloc(kPage, bytes);
  void* block = std::aligned_alloc(kHugePage, bytes);
  if (block != nullptr) ::madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

// Outside the lock: giving pages back takes the system some time.
template <typename Blocks>
void free_all(const Blocks& blocks) {
  for (const auto& one : blocks) std::free(one.block);
}

}  // namespace

BlockCache::~BlockCache() { free_all(idle_); }

void* BlockCache::take(size_t bytes) {
  if (bytes < kSmallest) return bytes == 0 ? nullptr : c10::alloc_cpu(bytes);
  const size_t whole = (bytes + kPage - 1) / kPage * kPage;
  if (void* block = reuse(whole)) return block;
  void* block = new_block(whole);
  if (block == nullptr) {
    free_all(idle_beyond(0));
    return c10::alloc_cpu(bytes);
  }
  const std::lock_guard guard(lock_);
  count_used(block, whole);
  return block;
}

// A block somewhat larger will do, unless what it has too much made the peak rise.
bool BlockCache::fits(size_t block_bytes, size_t bytes) const {
  if (block_bytes == bytes) return true;
  return block_bytes <= bytes + bytes / 4 &&
         stats_.used_bytes + block_bytes <= stats_.most_used_bytes + slack_;
}

// Null where nothing of about this size is idle; then there is room for a new block.
void* BlockCache::reuse(size_t bytes) {
  size_t room = 0;
  {
    const std::lock_guard guard(lock_);
    const auto found = by_size_.lower_bound(bytes);
    if (found != by_size_.end() && fits(found->first, bytes)) {
      const auto newest = found->second.back();
      const Idle taken = *newest;
      found->second.pop_back();
      if (found->second.empty()) by_size_.erase(found);
      idle_.erase(newest);
      stats_.idle_bytes -= taken.bytes;
      stats_.reused += 1;
      count_used(taken.block, taken.bytes);
      return taken.block;
    }
    const size_t used = stats_.used_bytes + bytes;
    room = std::max(stats_.most_used_bytes, used) + slack_ - used;
  }
  free_all(idle_beyond(room));
  return nullptr;
}

// Under the lock.
void BlockCache::count_used(void* block, size_t bytes) {
  used_.emplace(block, bytes);
  stats_.used_bytes += bytes;
  stats_.most_used_bytes = std::max(stats_.most_used_bytes, stats_.used_bytes);
}

// Takes the oldest out until no more than so many bytes are idle.
std::list<BlockCache::Idle> BlockCache::idle_beyond(size_t bytes) {
  const std::lock_guard guard(lock_);
  std::list<Idle> out;
  while (stats_.idle_bytes > bytes) {
    const Idle oldest = idle_.front();
    auto found = by_size_.find(oldest.bytes);
    found->second.pop_front();
    if (found->second.empty()) by_size_.erase(found);
    stats_.idle_bytes -= oldest.bytes;
    out.splice(out.end(), idle_, idle_.begin());
  }
  return out;
}

void BlockCache::give_back(void* block) {
  // Blocks that malloc has given lie at a page's start now and then, those of take() always.
  if (block == nullptr || !page_aligned(block)) return c10::free_cpu(block);
  const std::lock_guard guard(lock_);
  const auto found = used_.find(block);
  if (found == used_.end()) return c10::free_cpu(block);
  const size_t bytes = found->second;
  used_.erase(found);
  stats_.used_bytes -= bytes;
  stats_.idle_bytes += bytes;
  idle_.push_back({block, bytes});
  by_size_[bytes].push_back(std::prev(idle_.end()));
}

BlockCache::Stats BlockCache::stats() const {
  const std::lock_guard guard(lock_);
  return stats_;
}

namespace {

// An evaluation asks for blocks of some ten sizes in turn, and is faster by a tenth where all stay.
constexpr size_t kSlack = size_t{32} << 20;

// Never destroyed: tensors may outlive everything else.
BlockCache& tensor_blocks() {
  static auto* const cache = new BlockCache(kSlack);
  return *cache;
}

void give_back_tensor(void* block) { tensor_blocks().give_back(block); }

class TensorAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* block = tensor_blocks().take(bytes);
    return {block, block, &give_back_tensor, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back_tensor; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

void reuse_tensor_memory() {
#ifndef PRUNUS_ADDRESS_SANITIZER  // which is there to see what is used after it was freed
  static TensorAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
#endif
}

}  // namespace prunus
