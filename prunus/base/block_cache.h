#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace prunus {

/// Keeps freed blocks of memory for the next request of about the same size. Idle blocks and blocks
/// in use together never take more than `slack` above the largest amount that was in use at once
/// before, so that reuse raises the peak by no more (a block that is somewhat too large counts in
/// full). A layer asks for the same blocks as the layer before it, and getting new pages from the
/// system takes longer than many element-wise operators.
class BlockCache {
 public:
  /// Blocks below this many bytes are left to malloc.
  static constexpr size_t kSmallest = size_t{64} << 10;

  explicit BlockCache(size_t slack = 0) : slack_(slack) {}
  /// Frees what is idle. Blocks in use are their users'.
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  /// A block of at least so many bytes, an idle one up to a quarter more, aligned to a page from
  /// kSmallest on, below to 64 bytes; null for 0. Throws c10::Error where there is no memory, after
  /// freeing what is idle.
  void* take(size_t bytes);
  /// Of take(), or null. From any thread.
  void give_back(void* block);

  struct Stats {
    size_t used_bytes = 0;  ///< of blocks from kSmallest on, rounded up to pages
    size_t idle_bytes = 0;
    size_t most_used_bytes = 0;  ///< idle + used never exceeds it and the slack
    int64_t reused = 0;          ///< requests served by an idle block
  };
  Stats stats() const;

 private:
  struct Idle {
    void* block;
    size_t bytes;
  };
  void* reuse(size_t bytes);
  bool fits(size_t block_bytes, size_t bytes) const;
  void count_used(void* block, size_t bytes);
  std::list<Idle> idle_beyond(size_t bytes);

  const size_t slack_;
  mutable std::mutex lock_;
  Stats stats_;
  std::unordered_map<void*, size_t> used_;
  std::list<Idle> idle_;                                             // oldest first
  std::map<size_t, std::deque<std::list<Idle>::iterator>> by_size_;  // likewise
};

/// From now on libtorch's new tensors on the CPU have their memory from one BlockCache, which is
/// never destroyed. A setting of the whole process that cannot be taken back: for a program to make
/// at its start (cli/command.cpp), never for a library to make behind its user's back.
/// Does nothing in a build with AddressSanitizer. Call again as you like.
void reuse_tensor_memory();

}  // namespace prunus
