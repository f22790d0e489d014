#include "prunus/base/parallel.h"

#include <atomic>
#include <exception>
#ifdef PRUNUS_TSAN
#include <omp.h>
#include <thread>
#include <vector>
#endif

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#ifdef _OPENMP
// Of MKL, where libtorch has it: the number of threads that the calling thread's products use, 0
// for the global number. Returns the number before.
extern "C" [[gnu::weak]] int MKL_Set_Num_Threads_Local(int threads);
#endif

namespace prunus {

#ifdef _OPENMP
namespace {

// Inside a region MKL would still open one of its own, of one thread, for every small product.
class SingleThreadedMkl {
 public:
  SingleThreadedMkl() {
    if (MKL_Set_Num_Threads_Local != nullptr) before_ = MKL_Set_Num_Threads_Local(1);
  }
  ~SingleThreadedMkl() {
    if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(before_);
  }
  SingleThreadedMkl(const SingleThreadedMkl&) = delete;
  SingleThreadedMkl& operator=(const SingleThreadedMkl&) = delete;

 private:
  int before_ = 0;
};

#ifdef PRUNUS_TSAN
// ThreadSanitizer does not see how libgomp's threads wait for each other; those of the standard
// library it follows. libtorch's operators use the calling thread only, as in a region.
void on_threads(int count, const std::function<void()>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      omp_set_num_threads(1);
      work();
    });
  }
  for (std::thread& one : threads) one.join();
}
#else
// Inside an OpenMP region libtorch and its BLAS use the calling thread only.
void on_threads(int count, const std::function<void()>& work) {
#pragma omp parallel num_threads(count)
  work();
}
#endif

void run_in_region(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  const bool gradients = at::GradMode::is_enabled();
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  on_threads(threads, [&] {
    const SingleThreadedMkl single;
    const at::AutoGradMode mode(gradients);
    for (int64_t i = next++; i < count && !failed; i = next++) {
      try {
        body(i);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace

void for_each_parallel(int64_t count, const std::function<void(int64_t)>& body) {
  const int threads = at::get_num_threads();
  if (threads > 1 && count >= 2 * threads && !at::in_parallel_region()) {
    run_in_region(threads, count, body);
  } else {
    for (int64_t i = 0; i < count; ++i) body(i);
  }
}

#else

void for_each_parallel(int64_t count, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i);
}

#endif

}  // namespace prunus
