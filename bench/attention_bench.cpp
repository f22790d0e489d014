// Causal attention of whole sequences by head size: prunus/model/small_heads against libtorch's
// kernel behind copied key and value heads, as the decoder calls it. Interleaved; medians.
//   attention_bench [SEQUENCES] [TOKENS] [QUERY HEADS] [KV HEADS]
// Prints a line of JSON for each head size: milliseconds of each, the ratio, and GFLOP/s of the
// products that a causal mask leaves.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "prunus/base/json.h"
#include "prunus/model/small_heads.h"

namespace {

using namespace prunus;

struct Shape {
  int64_t sequences = 4;
  int64_t tokens = 512;
  int64_t heads = 8;
  int64_t kv_heads = 4;
};

double milliseconds(const std::function<void()>& act) {
  const auto start = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

at::Tensor copied(const at::Tensor& heads, int64_t times) {
  return heads.unsqueeze(2).expand({-1, -1, times, -1, -1}).flatten(1, 2);
}

Json measure(const Shape& shape, int64_t dim) {
  const auto random = [&](int64_t heads) {
    return at::randn({shape.sequences, shape.tokens, heads, dim}).transpose(1, 2);
  };
  const at::Tensor q = random(shape.heads), k = random(shape.kv_heads), v = random(shape.kv_heads);
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const int64_t times = shape.heads / shape.kv_heads;
  at::Tensor own = at::empty({shape.sequences, shape.tokens, shape.heads * dim});
  at::Tensor stock;
  const auto by_libtorch = [&] {
    stock =
        at::scaled_dot_product_attention(q, copied(k, times), copied(v, times), {}, 0, true, scale)
            .transpose(1, 2)
            .flatten(2, 3);
  };
  std::vector<double> ours, theirs;
  for (int round = 0; round < 9; ++round) {
    ours.push_back(milliseconds([&] { attend_small_heads(q, k, v, scale, own); }));
    theirs.push_back(milliseconds(by_libtorch));
  }
  const double pairs = static_cast<double>(shape.sequences * shape.heads) *
                       static_cast<double>(shape.tokens) * static_cast<double>(shape.tokens + 1) /
                       2;
  const double gflop = 4 * pairs * static_cast<double>(dim) / 1e9;
  return {{"head_dim", dim},
          {"small_heads_ms", median(ours)},
          {"libtorch_ms", median(theirs)},
          {"ratio", median(theirs) / median(ours)},
          {"small_heads_gflops", gflop / median(ours) * 1e3},
          {"libtorch_gflops", gflop / median(theirs) * 1e3},
          {"max_abs_diff", (own - stock).abs().max().item<double>()}};
}

}  // namespace

int main(int argc, char** argv) {
  Shape shape;
  int64_t* const fields[] = {&shape.sequences, &shape.tokens, &shape.heads, &shape.kv_heads};
  for (int i = 1; i < argc && i <= 4; ++i) *fields[i - 1] = std::atoll(argv[i]);
  at::manual_seed(1);
  for (const int64_t dim : {16, 32, 64, 80, 96, 128, 256}) {
    std::cout << measure(shape, dim).dump() << std::endl;
  }
}
