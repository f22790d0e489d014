// What this machine can do, for every other figure to be held against, in one run:
//   floor_bench [THREADS]
// Memory: a read of 512 MiB, and STREAM's triad (a = b + s·c, three arrays of 128 MiB; McCalpin
// 1995). Products: the best of nine at shapes of SmolLM2-135M and of a model of 1.1 B, 2,048 rows,
// by each library at hand (OpenBLAS where libopenblas.so.0 is installed) and in each type, in
// GFLOP/s. One row: kernel/row_product on weights that
// fit in no cache, in GB/s of weights, at each level of instructions. A line of JSON each.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <dlfcn.h>
#include <functional>
#include <iostream>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/base/parallel.h"
#include "prunus/kernel/row_product.h"
#include "prunus/model/matmul.h"

namespace {

using namespace prunus;

double best_seconds(const std::function<void()>& act) {
  double best = 1e9;
  for (int i = 0; i < 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    act();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (i > 0) best = std::min(best, taken.count());
  }
  return best;
}

void print(const Json& line) { std::cout << line.dump() << std::endl; }

void measure_memory() {
  constexpr int64_t kFloats = 32 << 20, kPiece = 1 << 18;
  at::Tensor a = at::ones({kFloats}), b = at::ones({kFloats}), c = at::ones({kFloats});
  auto* to = a.mutable_data_ptr<float>();
  const auto *first = b.const_data_ptr<float>(), *second = c.const_data_ptr<float>();
  const double triad = best_seconds([&] {
    for_each_parallel(kFloats / kPiece, [&](int64_t piece) {
      const int64_t begin = piece * kPiece;
      for (int64_t i = begin; i < begin + kPiece; ++i) to[i] = first[i] + 3.0F * second[i];
    });
  });
  print({{"memory", "triad"}, {"gigabytes_per_second", 12.0 * kFloats / triad / 1e9}});
  const at::Tensor large = at::ones({4, kFloats});
  const double read = best_seconds([&] { large.sum(); });
  print({{"memory", "read"}, {"gigabytes_per_second", 16.0 * kFloats / read / 1e9}});
}

constexpr int64_t kRows = 2048;

std::string shape_text(int64_t in, int64_t out) {
  return std::to_string(in) + " to " + std::to_string(out);
}

double gigaflops(int64_t in, int64_t out, double seconds) {
  return 2.0 * static_cast<double>(kRows * in * out) / seconds / 1e9;
}

// x·Wᵀ by a function of the library's own, on as many threads as libtorch has.
void measure_openblas(int64_t in, int64_t out) {
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                         float, float*, int);
  using SetThreads = void (*)(int);
  static void* const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  const auto symbol = [](const char* name) {
    return library == nullptr ? nullptr : dlsym(library, name);
  };
  const auto sgemm = reinterpret_cast<Sgemm>(symbol("cblas_sgemm"));
  const auto set_threads = reinterpret_cast<SetThreads>(symbol("openblas_set_num_threads"));
  if (sgemm == nullptr || set_threads == nullptr) {
    print({{"product", shape_text(in, out)},
           {"library", "openblas"},
           {"skipped", "no libopenblas.so.0 (Debian: libopenblas0)"}});
    return;
  }
  set_threads(at::get_num_threads());
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  const at::Tensor x = at::randn({kRows, in}), weight = at::randn({out, in});
  at::Tensor y = at::empty({kRows, out});
  const auto n = static_cast<int>(out), k = static_cast<int>(in);
  const double seconds = best_seconds([&] {
    sgemm(kRowMajor, kPlain, kTransposed, static_cast<int>(kRows), n, k, 1.0F,
          x.const_data_ptr<float>(), k, weight.const_data_ptr<float>(), k, 0.0F,
          y.mutable_data_ptr<float>(), n);
  });
  PRUNUS_CHECK(at::allclose(y, at::linear(x, weight), 1e-3, 1e-3), Numeric,
               "libopenblas.so.0: cblas_sgemm differs from libtorch's product");
  print({{"product", shape_text(in, out)},
         {"dtype", "float32"},
         {"library", "openblas"},
         {"gigaflops", gigaflops(in, out, seconds)}});
}

void measure_products(int64_t in, int64_t out) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::randn({kRows, in}).to(type), weight = at::randn({out, in}).to(type);
    for (const Matmul library : {Matmul::Blas, Matmul::OneDnn}) {
      if (type == at::kBFloat16 && library == Matmul::OneDnn) continue;  // the choice is FP32's
      try {
        choose_matmul(library);
      } catch (const Error&) {
        continue;  // this libtorch has none
      }
      const bool single = type == at::kFloat;
      const double seconds =
          best_seconds([&] { single ? apply_linear(x, weight) : at::linear(x, weight); });
      print({{"product", shape_text(in, out)},
             {"dtype", single ? "float32" : "bfloat16"},
             {"library", single ? std::string(name_of_matmul(library)) : "libtorch"},
             {"gigaflops", gigaflops(in, out, seconds)}});
    }
  }
  measure_openblas(in, out);
}

void measure_rows() {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor weight = at::randn({65536, 2048}).to(type);  // 256 MiB
    for (const int64_t rows : {1, 4, 8}) {
      const at::Tensor x = at::randn({rows, 2048});
      at::Tensor y = at::empty({rows, 65536});
      for (const CpuLevel level : cpu_levels()) {
        const double seconds = best_seconds([&] { kernel::row_product(x, weight, {}, y, level); });
        print({{"rows", rows},
               {"dtype", type == at::kHalf ? "float16" : "bfloat16"},
               {"level", std::string(name_of_cpu_level(level))},
               {"gigabytes_per_second", static_cast<double>(weight.nbytes()) / seconds / 1e9}});
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  const at::NoGradGuard no_grad;
  if (count > 1) at::set_num_threads(std::atoi(arguments[1]));
  print({{"threads", at::get_num_threads()}});
  measure_memory();
  measure_products(576, 1536);
  measure_products(2048, 5632);
  measure_rows();
}
