#include "prunus/base/block_cache.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/rng.h"
#include "prunus/base/sanitizer.h"

namespace prunus::block_cache_test {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kBig = size_t{1} << 20;

TEST(BlockCache, GivesABlockOfTheSameSizeAgain) {
  BlockCache cache;
  void* first = cache.take(kBig);
  void* second = cache.take(kBig);
  cache.give_back(first);
  cache.give_back(second);
  EXPECT_EQ(cache.stats().idle_bytes, 2 * kBig);
  // The newest first, since it may still be in the processor's cache.
  EXPECT_EQ(cache.take(kBig - 5), second);
  EXPECT_EQ(cache.take(kBig), first);
  EXPECT_EQ(cache.stats().reused, 2);
  EXPECT_EQ(cache.stats().idle_bytes, 0U);
  EXPECT_EQ(cache.stats().used_bytes, 2 * kBig);
  cache.give_back(first);
  cache.give_back(second);
}

TEST(BlockCache, LetsTheOldestGoBeforeThePeakWouldRise) {
  BlockCache cache;
  void* a = cache.take(kBig);
  void* b = cache.take(kBig);
  void* c = cache.take(2 * kBig);
  cache.give_back(a);
  cache.give_back(c);
  EXPECT_EQ(cache.stats().idle_bytes, 3 * kBig);
  // 4 MiB have been in use; with b and 1.5 more there is room for 1.5 idle: c, the younger, is too
  // large.
  void* d = cache.take(kBig + kBig / 2);
  EXPECT_EQ(cache.stats().most_used_bytes, 4 * kBig);
  EXPECT_EQ(cache.stats().idle_bytes, 0U);
  cache.give_back(b);
  cache.give_back(d);
  EXPECT_EQ(cache.stats().idle_bytes, kBig * 5 / 2);
}

TEST(BlockCache, KeepsSoMuchMoreThanWasInUse) {
  BlockCache cache(/*slack=*/kBig);
  void* a = cache.take(kBig);
  cache.give_back(a);
  void* b = cache.take(2 * kBig);  // 1 idle + 2 in use is within 2 + 1
  EXPECT_EQ(cache.stats().idle_bytes, kBig);
  cache.give_back(b);
  void* c = cache.take(3 * kBig);  // 4 may be: a goes, then b
  EXPECT_EQ(cache.stats().idle_bytes, 0U);
  cache.give_back(c);
}

TEST(BlockCache, LeavesSmallBlocksToMalloc) {
  BlockCache cache;
  EXPECT_EQ(cache.take(0), nullptr);
  cache.give_back(nullptr);
  void* block = cache.take(BlockCache::kSmallest - 1);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0U);
  EXPECT_EQ(cache.stats().used_bytes, 0U);
  cache.give_back(block);
  EXPECT_EQ(cache.stats().idle_bytes, 0U);
}

#ifndef PRUNUS_ADDRESS_SANITIZER  // ends the program at such a request
TEST(BlockCache, SaysSoWhereThereIsNoMemoryAndKeepsItsCount) {
  BlockCache cache;
  cache.give_back(cache.take(kBig));
  EXPECT_THROW(cache.take(size_t{1} << 60), c10::Error);
  EXPECT_EQ(cache.stats().used_bytes, 0U);
  EXPECT_EQ(cache.stats().idle_bytes, 0U);
  EXPECT_EQ(cache.stats().most_used_bytes, kBig);
}
#endif

TEST(BlockCache, TakesABlockThatIsALittleLargerWhereThatDoesNotRaiseThePeak) {
  BlockCache cache;
  void* block = cache.take(5 * kPage * 16);
  cache.give_back(block);
  EXPECT_EQ(cache.take(4 * kPage * 16), block);
  EXPECT_EQ(cache.stats().used_bytes, 5 * kPage * 16);
  cache.give_back(block);
  void* other = cache.take(3 * kPage * 16);  // 5 are more than a quarter beyond it
  EXPECT_EQ(cache.stats().reused, 1);
  EXPECT_EQ(cache.stats().idle_bytes, 0U);  // 8 had never been in use
  cache.give_back(other);
}

// Contents stay their user's, and no byte more is held than was in use once.
TEST(BlockCache, HoldsForAnyOrderOfRequests) {
  BlockCache cache;
  PythonRandom rng(7);
  struct Held {
    size_t bytes, counted;
    unsigned char mark;
  };
  std::map<unsigned char*, Held> held;
  size_t most = 0;
  for (int i = 0; i < 3000; ++i) {
    const size_t before = cache.stats().used_bytes;
    if (held.empty() || rng.below(2) == 0) {
      const size_t bytes = kPage * (10 + rng.below(12)) - rng.below(9);
      auto* block = static_cast<unsigned char*>(cache.take(bytes));
      const auto mark = static_cast<unsigned char>(i);
      std::memset(block, mark, bytes);
      const size_t counted = cache.stats().used_bytes - before;
      if (bytes >= BlockCache::kSmallest) {
        ASSERT_GE(counted, bytes);
        ASSERT_LE(counted, bytes + bytes / 4 + kPage);
      } else {
        ASSERT_EQ(counted, 0U);
      }
      ASSERT_TRUE(held.emplace(block, Held{bytes, counted, mark}).second);
    } else {
      const auto one = std::next(held.begin(), static_cast<int64_t>(rng.below(held.size())));
      const auto& [bytes, counted, mark] = one->second;
      ASSERT_EQ(one->first[0], mark);
      ASSERT_EQ(one->first[bytes - 1], mark);
      cache.give_back(one->first);
      ASSERT_EQ(before - cache.stats().used_bytes, counted);
      held.erase(one);
    }
    const BlockCache::Stats stats = cache.stats();
    most = std::max(most, stats.used_bytes);
    ASSERT_EQ(stats.most_used_bytes, most);
    ASSERT_LE(stats.used_bytes + stats.idle_bytes, most);
  }
  EXPECT_GT(cache.stats().reused, 100);
  for (const auto& [block, rest] : held) cache.give_back(block);
}

TEST(BlockCache, IsForSeveralThreads) {
  BlockCache cache;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      for (int i = 0; i < 2000; ++i) {
        auto* block = static_cast<unsigned char*>(cache.take(BlockCache::kSmallest));
        block[0] = static_cast<unsigned char>(t);
        std::this_thread::yield();
        EXPECT_EQ(block[0], t);
        cache.give_back(block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.stats().used_bytes, 0U);
  EXPECT_LE(cache.stats().idle_bytes, 4 * BlockCache::kSmallest);
}

#ifndef PRUNUS_ADDRESS_SANITIZER
TEST(ReuseTensorMemory, ServesTensorsAndLetsEarlierOnesGo) {
  at::Tensor before = at::ones({300, 300});
  reuse_tensor_memory();
  const void* place = nullptr;
  {
    const at::Tensor tensor = at::ones({300, 300});
    place = tensor.const_data_ptr();
  }
  const at::Tensor zeros = at::zeros({300, 300});
  EXPECT_EQ(zeros.const_data_ptr(), place);
  EXPECT_EQ(zeros.sum().item<float>(), 0);
  EXPECT_EQ(before.sum().item<float>(), 90000);
  before.reset();
  at::Tensor grown = at::ones({300, 300});
  grown.resize_({600, 300});
  EXPECT_EQ(grown.narrow(0, 0, 300).sum().item<float>(), 90000);
}
#endif

}  // namespace
}  // namespace prunus::block_cache_test
