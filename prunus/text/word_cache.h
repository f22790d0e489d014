#pragma once
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prunus::text {

/// Ids of words already tokenized. Text repeats itself: a look-up replaces nearly all the merging,
/// and is then most of the work; so the table is flat, with the bytes and ids of all words in two
/// long arrays, where a std::unordered_map would follow four pointers.
class WordCache {
 public:
  /// The ids of `word`; nothing where the word is not known.
  std::span<const int64_t> find(std::string_view word) const;
  /// Remembers a word (not known yet) and its ids (at least one), unless it is too long to come
  /// again. A full cache starts afresh.
  void insert(std::string_view word, std::span<const int64_t> ids);

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t word_begin = 0;
    uint32_t ids_begin = 0;
    uint32_t word_bytes = 0;  ///< 0 marks a free slot
    uint32_t id_count = 0;
  };
  size_t locate(std::string_view word, uint64_t hash) const;
  void grow();

  std::vector<Slot> slots_ = std::vector<Slot>(64);
  std::string bytes_;
  std::vector<int64_t> ids_;
  size_t words_ = 0;
};

/// A cache that many calls share, one after the other.
class SharedWordCache {
 public:
  /// The shared cache where it is free, else an empty one that lives as long as the lease.
  class Lease {
   public:
    explicit Lease(SharedWordCache& shared)
        : lock_(shared.mutex_, std::try_to_lock), shared_(shared) {}
    WordCache& cache() { return lock_.owns_lock() ? shared_.cache_ : own_; }

   private:
    std::unique_lock<std::mutex> lock_;
    SharedWordCache& shared_;
    WordCache own_;
  };

 private:
  std::mutex mutex_;
  WordCache cache_;
};

}  // namespace prunus::text
