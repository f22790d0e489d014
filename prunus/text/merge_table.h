#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace prunus::text {

/// What becomes of two neighbouring tokens.
struct Merge {
  uint32_t rank;   ///< lower is done first
  int32_t merged;  ///< id of the token they make
};

/// Merges by their pair of ids: open addressing with linear probing, at most half full. A look-up
/// touches one cache line where std::unordered_map would touch three; encoding is mostly look-ups.
class MergeTable {
 public:
  /// Empties the table and makes room for `count` merges.
  void reset(size_t count) { slots_.assign(std::bit_ceil(2 * count + 2), Slot{}); }

  /// Adds the merge of `left` and `right`; a pair given twice keeps the later merge.
  void insert(int32_t left, int32_t right, Merge merge) {
    Slot& slot = slots_[locate(left, right)];
    slot = {key(left, right), merge};
  }

  /// The merge of `left` and `right`, or null.
  const Merge* find(int32_t left, int32_t right) const {
    const Slot& slot = slots_[locate(left, right)];
    return slot.pair == kEmpty ? nullptr : &slot.merge;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair of non-negative ids has this key
  struct Slot {
    uint64_t pair = kEmpty;
    Merge merge = {};
  };
  static uint64_t key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t locate(int32_t left, int32_t right) const {
    const uint64_t wanted = key(left, right);
    const size_t mask = slots_.size() - 1;
    size_t at = (wanted * 0x9E3779B97F4A7C15u >> 24) & mask;
    while (slots_[at].pair != kEmpty && slots_[at].pair != wanted) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_ = std::vector<Slot>(2);
};

}  // namespace prunus::text
