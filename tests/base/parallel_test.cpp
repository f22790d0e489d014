#include "prunus/base/parallel.h"

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

namespace prunus::parallel_test {
namespace {

class ForEachParallel : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { at::set_num_threads(GetParam()); }
  void TearDown() override { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

TEST_P(ForEachParallel, RunsEveryPieceOnce) {
  for (const int64_t count : {0, 1, 3, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    for_each_parallel(count, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
    for (const auto& one : runs) EXPECT_EQ(one, 1);
  }
}

TEST_P(ForEachParallel, KeepsGradientsOff) {
  const at::NoGradGuard no_grad;
  std::atomic<int> enabled{0};
  for_each_parallel(100, [&](int64_t) { enabled += at::GradMode::is_enabled() ? 1 : 0; });
  EXPECT_EQ(enabled, 0);
}

TEST_P(ForEachParallel, PassesAnErrorOnAndStops) {
  constexpr int64_t kCount = 1'000'000'000;  // minutes of work, were it not stopped
  std::atomic<int64_t> runs{0};
  EXPECT_THROW(for_each_parallel(kCount,
                                 [&](int64_t i) {
                                   ++runs;
                                   if (i == 5) throw std::runtime_error("piece 5");
                                 }),
               std::runtime_error);
  EXPECT_LT(runs, kCount);
}

TEST_P(ForEachParallel, UsesItsThreads) {
  std::mutex lock;
  std::set<std::thread::id> seen;
  for_each_parallel(1000, [&](int64_t) {
    at::randn({100, 100}).sum();
    const std::lock_guard guard(lock);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(seen.size(), static_cast<size_t>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Threads, ForEachParallel, testing::Values(1, 2, 4));

}  // namespace
}  // namespace prunus::parallel_test
