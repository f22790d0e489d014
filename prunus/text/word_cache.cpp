#include "prunus/text/word_cache.h"

#include <functional>

namespace prunus::text {
namespace {

constexpr size_t kLongestWord = 256;
constexpr size_t kMostWords = size_t{1} << 17;

uint64_t hash_of(std::string_view word) { return std::hash<std::string_view>{}(word); }

}  // namespace

size_t WordCache::locate(std::string_view word, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.word_bytes == 0) return at;
    if (slot.hash == hash &&
        std::string_view(bytes_.data() + slot.word_begin, slot.word_bytes) == word) {
      return at;
    }
  }
}

std::span<const int64_t> WordCache::find(std::string_view word) const {
  if (word.empty() || word.size() > kLongestWord) return {};
  const Slot& slot = slots_[locate(word, hash_of(word))];
  return {ids_.data() + slot.ids_begin, slot.id_count};
}

void WordCache::insert(std::string_view word, std::span<const int64_t> ids) {
  if (word.empty() || word.size() > kLongestWord || ids.empty()) return;
  if (words_ >= kMostWords) *this = WordCache();
  if (2 * words_ >= slots_.size()) grow();
  const uint64_t hash = hash_of(word);
  slots_[locate(word, hash)] = {.hash = hash,
                                .word_begin = static_cast<uint32_t>(bytes_.size()),
                                .ids_begin = static_cast<uint32_t>(ids_.size()),
                                .word_bytes = static_cast<uint32_t>(word.size()),
                                .id_count = static_cast<uint32_t>(ids.size())};
  bytes_.append(word);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++words_;
}

void WordCache::grow() {
  std::vector<Slot> old(2 * slots_.size());
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.word_bytes == 0) continue;
    size_t at = slot.hash & mask;
    while (slots_[at].word_bytes != 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

}  // namespace prunus::text
