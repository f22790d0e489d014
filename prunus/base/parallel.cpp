#include "prunus/base/parallel.h"

#include <atomic>
#include <exception>

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

namespace prunus {

#ifdef _OPENMP
namespace {

// Inside an OpenMP region libtorch and its BLAS use the calling thread only.
void run_in_region(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  const bool gradients = at::GradMode::is_enabled();
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  {
    const at::AutoGradMode mode(gradients);
    for (int64_t i = next++; i < count && !failed; i = next++) {
      try {
        body(i);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  }
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
