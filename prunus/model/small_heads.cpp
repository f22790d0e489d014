#include "prunus/model/small_heads.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/cpu.h"
#include "prunus/base/error.h"
#include "prunus/base/parallel.h"
#include "prunus/kernel/vectors.h"

namespace prunus {
namespace {

constexpr int64_t kMaxHeadDim = 256;  // that the kernel can do
constexpr int64_t kBestHeadDim = 32;  // up to which it is the faster one (bench/attention_bench)
constexpr int64_t kMaxRows = 8;
constexpr int64_t kTile = 16;  // keys, or channels of values, at once

int64_t up_to_tile(int64_t count) { return (count + kTile - 1) / kTile * kTile; }

// Keys and values of a path, of one head.
struct PackedHead {
  int64_t dim = 0;
  int64_t padded = 0;             // places, up to a whole tile
  const float* keys = nullptr;    // [dim, padded], times scale · log2 e
  const float* values = nullptr;  // [dim / kTile rounded up, padded, kTile]
};

struct Rows {
  std::array<const float*, kMaxRows> queries;
  std::array<float*, kMaxRows> outputs;
  int64_t visible = 0;  // keys that the first sees; each other one more
};

// Attention of kRows queries at once, in vectors of kLanes floats. Both are chosen for the machine:
// as many rows as leave a tile's sums in registers, and enough of them to keep the multipliers
// busy.
template <int64_t kLanes, int64_t kRows>
class RowKernel {
 public:
  static PRUNUS_INLINE void attend(const PackedHead& head, const Rows& rows, float* scores) {
    const int64_t end = std::min(head.padded, up_to_tile(rows.visible + kRows - 1));
    RowLanes best, factors;
    multiply_keys(head, rows, end, scores, best);
    PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
      factors[r] = exponentiate(scores + static_cast<int64_t>(r) * head.padded, best[r], end);
    }
    for (int64_t begin = 0; begin < head.dim; begin += kTile) {
      std::array<float, kRows * kTile> mixed;
      mix_values(head, head.values + begin * head.padded, scores, end, factors, mixed.data());
      const int64_t count = std::min(kTile, head.dim - begin);
      for (int64_t r = 0; r < kRows; ++r) {
        std::copy_n(mixed.data() + r * kTile, count, rows.outputs[static_cast<size_t>(r)] + begin);
      }
    }
  }

 private:
  using V = kernel::Vector<static_cast<int>(kLanes)>;
  using Lanes = typename V::Lanes;
  using Integers = typename V::Integers;
  static constexpr int64_t kParts = kTile / kLanes;
  using Tile = std::array<std::array<Lanes, kParts>, kRows>;
  using RowLanes = std::array<Lanes, kRows>;

  // sums[row] += factors[row][at] · line, a tile of floats.
  static PRUNUS_INLINE void add_products(Tile& sums, const float* line,
                                         const std::array<const float*, kRows>& factors,
                                         int64_t at) {
    std::array<Lanes, kParts> parts;
    PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) parts[i] = V::load(line + i * kLanes);
    PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
      PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) sums[r][i] += factors[r][at] * parts[i];
    }
  }

  // Lane i of the result: first + i.
  static PRUNUS_INLINE Integers counted_from(int64_t first) {
    Integers lanes{};
    PRUNUS_UNROLL for (int i = 0; i < kLanes; ++i) lanes[i] = i;
    return lanes + static_cast<int32_t>(first);
  }

  // Lane i of the result: lane i ^ step.
  static PRUNUS_INLINE Lanes exchanged(Lanes x, int32_t step) {
#ifdef __clang__  // has no shuffle by a vector; it makes one of the loop
    Lanes lanes{};
    PRUNUS_UNROLL for (int32_t i = 0; i < kLanes; ++i) lanes[i] = x[i ^ step];
    return lanes;
#else
    return __builtin_shuffle(x, counted_from(0) ^ step);
#endif
  }

  template <typename Join>
  static PRUNUS_INLINE Lanes joined_lanes(Lanes x, Join join) {
    PRUNUS_UNROLL for (int32_t step = kLanes / 2; step > 0; step /= 2) {
      x = join(x, exchanged(x, step));
    }
    return x;
  }

  // Products with all keys up to `end`, −∞ for those that a row does not see; `best`: the largest
  // of each lane.
  static PRUNUS_INLINE void multiply_keys(const PackedHead& head, const Rows& rows, int64_t end,
                                          float* scores, RowLanes& best) {
    const Lanes none = Lanes{} - std::numeric_limits<float>::infinity();
    std::array<const float*, kRows> queries;
    std::copy_n(rows.queries.begin(), kRows, queries.begin());
    best.fill(none);
    for (int64_t j = 0; j < end; j += kTile) {
      Tile sums{};
      const float* keys = head.keys + j;
      for (int64_t c = 0; c < head.dim; ++c, keys += head.padded) {
        add_products(sums, keys, queries, c);
      }
      if (j + kTile > rows.visible) {
        PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
          const auto seen = static_cast<int32_t>(rows.visible + static_cast<int64_t>(r));
          PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) {
            const Integers key = counted_from(j + static_cast<int64_t>(i) * kLanes);
            sums[r][i] = key < seen ? sums[r][i] : none;
          }
        }
      }
      PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
        PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) {
          V::store(scores + static_cast<int64_t>(r) * head.padded + j + i * kLanes, sums[r][i]);
          best[r] = V::larger(sums[r][i], best[r]);
        }
      }
    }
  }

  // Scores to 2^(score − largest). Returns 1 / sum, in all lanes.
  static PRUNUS_INLINE Lanes exponentiate(float* scores, Lanes best, int64_t end) {
    const Lanes largest = joined_lanes(best, V::larger);
    Lanes sums{};
    for (int64_t j = 0; j < end; j += kLanes) {
      const Lanes power = V::power_of_two(V::load(scores + j) - largest);
      V::store(scores + j, power);
      sums += power;
    }
    return 1.0F / joined_lanes(sums, [](Lanes a, Lanes b) PRUNUS_ALWAYS { return a + b; });
  }

  // Σ_j scores[row, j] · values[j] · factors[row], for the channels of one tile.
  static PRUNUS_INLINE void mix_values(const PackedHead& head, const float* values,
                                       const float* scores, int64_t end, const RowLanes& factors,
                                       float* mixed) {
    std::array<const float*, kRows> lines;
    PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
      lines[r] = scores + static_cast<int64_t>(r) * head.padded;
    }
    Tile sums{};
    for (int64_t j = 0; j < end; ++j, values += kTile) add_products(sums, values, lines, j);
    PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
      PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) {
        V::store(mixed + r * kTile + i * kLanes, sums[r][i] * factors[r]);
      }
    }
  }
};

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void attend_avx2(const PackedHead& head, const Rows& rows,
                                                     float* scores) {
  RowKernel<8, 4>::attend(head, rows, scores);
}

__attribute__((target("avx512f,avx2,fma"))) void attend_avx512(const PackedHead& head,
                                                               const Rows& rows, float* scores) {
  RowKernel<16, 8>::attend(head, rows, scores);
}
#endif

struct Kernel {
  int64_t lanes = 0;
  int64_t rows = 0;  // queries that it takes at once
  void (*attend)(const PackedHead& head, const Rows& rows, float* scores) = nullptr;
};

// Of this machine, the fastest first.
std::vector<Kernel> find_kernels() {
  std::vector<Kernel> found;
#if defined(__x86_64__)
  if (cpu_level() >= CpuLevel::Avx512) found.push_back({16, 8, attend_avx512});
  if (cpu_level() >= CpuLevel::Avx2) found.push_back({8, 4, attend_avx2});
#endif
  return found;
}

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> found = find_kernels();
  return found;
}

// 0: the fastest.
const Kernel& kernel_of(int64_t lanes) {
  for (const Kernel& one : kernels()) {
    if (lanes == 0 || one.lanes == lanes) return one;
  }
  PRUNUS_FAIL(InvalidArgument, "attention of small heads: no kernel for vectors of ", lanes,
              " floats on this machine; see takes_small_heads()");
}

// Where a place's channels of a head are.
class Places {
 public:
  explicit Places(const at::Tensor& x)
      : data_(x.const_data_ptr<float>()),
        seq_(x.size(2)),
        row_(x.stride(0)),
        head_(x.stride(1)),
        place_(x.stride(2)) {
    TORCH_INTERNAL_ASSERT(x.stride(3) == 1 || x.size(3) == 1,
                          "attend_small_heads: channels of a head must lie together, got strides ",
                          x.strides());
  }
  const float* at(int64_t head, int64_t place) const {
    return data_ + place / seq_ * row_ + head * head_ + place % seq_ * place_;
  }

 private:
  const float* data_;
  int64_t seq_;
  int64_t row_;
  int64_t head_;
  int64_t place_;
};

struct Scratch {
  std::vector<float> keys;
  std::vector<float> values;
  std::vector<float> scores;
};

PackedHead packed(const Places& keys, const Places& values, int64_t head, int64_t dim,
                  const AttentionPath& path, float factor, Scratch& scratch) {
  const auto length = static_cast<int64_t>(path.places.size());
  const int64_t padded = up_to_tile(length);
  scratch.keys.assign(static_cast<size_t>(dim * padded), 0.0F);
  scratch.values.assign(static_cast<size_t>(up_to_tile(dim) * padded), 0.0F);
  scratch.scores.resize(static_cast<size_t>(kMaxRows * padded));
  for (int64_t j = 0; j < length; ++j) {
    const int64_t place = path.places[static_cast<size_t>(j)];
    const float* key = keys.at(head, place);
    const float* value = values.at(head, place);
    for (int64_t c = 0; c < dim; ++c) {
      scratch.keys[static_cast<size_t>(c * padded + j)] = key[c] * factor;
    }
    for (int64_t begin = 0; begin < dim; begin += kTile) {
      std::copy_n(value + begin, std::min(kTile, dim - begin),
                  scratch.values.data() + begin * padded + j * kTile);
    }
  }
  return {dim, padded, scratch.keys.data(), scratch.values.data()};
}

}  // namespace

std::vector<int64_t> small_heads_lanes() {
  std::vector<int64_t> lanes;
  for (const Kernel& one : kernels()) lanes.push_back(one.lanes);
  return lanes;
}

bool takes_small_heads(const at::Tensor& queries) {
  return !kernels().empty() && queries.is_cpu() && queries.scalar_type() == at::kFloat &&
         queries.size(3) <= kBestHeadDim && !at::GradMode::is_enabled();
}

void attend_small_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::span<const AttentionPath> paths, double scale, at::Tensor& out,
                        int64_t lanes) {
  const int64_t dim = q.size(3), kv_heads = k.size(1);
  const int64_t times = q.size(1) / kv_heads;
  const int64_t width = q.size(1) * dim;
  TORCH_INTERNAL_ASSERT(out.is_contiguous() && out.numel() == q.numel(),
                        "attend_small_heads: `out` must be contiguous and as large as the queries");
  const Places queries(q), keys(k), values(v);
  const auto factor = static_cast<float>(scale * std::numbers::log2e);
  float* to = out.mutable_data_ptr<float>();
  const Kernel& kernel = kernel_of(lanes);
  const auto one = [&](int64_t index) {
    thread_local Scratch scratch;
    const AttentionPath& path = paths[static_cast<size_t>(index / kv_heads)];
    const int64_t kv_head = index % kv_heads;
    const PackedHead head = packed(keys, values, kv_head, dim, path, factor, scratch);
    std::array<float, kMaxHeadDim> unused;
    const auto length = static_cast<int64_t>(path.places.size());
    for (int64_t h = kv_head * times; h < (kv_head + 1) * times; ++h) {
      for (int64_t i = path.start; i < length; i += kernel.rows) {
        Rows rows{.queries = {}, .outputs = {}, .visible = i + 1};
        for (int64_t r = 0; r < kernel.rows; ++r) {
          const int64_t place = path.places[static_cast<size_t>(std::min(i + r, length - 1))];
          rows.queries[static_cast<size_t>(r)] = queries.at(h, place);
          rows.outputs[static_cast<size_t>(r)] =
              i + r < length ? to + place * width + h * dim : unused.data();
        }
        kernel.attend(head, rows, scratch.scores.data());
      }
    }
  };
  for_each_parallel(static_cast<int64_t>(paths.size()) * kv_heads, one);
}

void attend_small_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        at::Tensor& out, int64_t lanes) {
  const int64_t seq = q.size(2);
  std::vector<int64_t> places(static_cast<size_t>(q.size(0) * seq));
  std::iota(places.begin(), places.end(), int64_t{0});
  std::vector<AttentionPath> paths;
  for (int64_t row = 0; row < q.size(0); ++row) {
    paths.push_back(
        {std::span(places).subspan(static_cast<size_t>(row * seq), static_cast<size_t>(seq))});
  }
  attend_small_heads(q, k, v, paths, scale, out, lanes);
}

}  // namespace prunus
