#include "prunus/model/small_heads.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/parallel.h"

namespace prunus {
namespace {

// What runs in a loop over places is compiled for AVX2 too; without it, and elsewhere, libtorch's
// kernel is the better one (takes_small_heads).
#if defined(__x86_64__)
#define PRUNUS_ALSO_FOR_AVX2 __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define PRUNUS_ALSO_FOR_AVX2
#endif
#define PRUNUS_INLINE inline __attribute__((always_inline))

constexpr int64_t kMaxHeadDim = 32;
constexpr int64_t kRows = 4;   // queries at once; with kTile they fill the registers
constexpr int64_t kTile = 16;  // keys, or channels of values, at once: two vectors
constexpr int64_t kLanes = 8;
using Lanes = float __attribute__((vector_size(4 * kLanes)));
using Integers = int32_t __attribute__((vector_size(4 * kLanes)));
using Unaligned = float __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

int64_t up_to_tile(int64_t count) { return (count + kTile - 1) / kTile * kTile; }

PRUNUS_INLINE Lanes load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
PRUNUS_INLINE void store(float* to, Lanes x) { *reinterpret_cast<Unaligned*>(to) = x; }
PRUNUS_INLINE Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

// 2^x for x ≤ 0, and next to nothing below −126: the whole part in the exponent's bits, the rest,
// within ±1/2, by its series.
PRUNUS_INLINE Lanes power_of_two(Lanes x) {
  constexpr float kTwoTo23Half = 12582912.0F;  // 1.5 · 2^23: sums with it have no fraction
  constexpr float kLn2 = std::numbers::ln2_v<float>;
  constexpr float k2 = kLn2 * kLn2 / 2, k3 = k2 * kLn2 / 3, k4 = k3 * kLn2 / 4;
  constexpr float k5 = k4 * kLn2 / 5, k6 = k5 * kLn2 / 6;
  x = x < -126.0F ? Lanes{} - 126.0F : x;
  const Lanes shifted = x + kTwoTo23Half;
  const Lanes rest = x - (shifted - kTwoTo23Half);
  const Lanes series =
      (((((k6 * rest + k5) * rest + k4) * rest + k3) * rest + k2) * rest + kLn2) * rest + 1.0F;
  const Integers exponent = (__builtin_bit_cast(Integers, shifted) << 23) + 0x3f800000;
  return series * __builtin_bit_cast(Lanes, exponent);
}

// Keys and values of a path, of one head.
struct PackedHead {
  int64_t dim = 0;
  int64_t padded = 0;             // places, up to a whole tile
  const float* keys = nullptr;    // [dim, padded], times scale · log2 e
  const float* values = nullptr;  // [dim / kTile rounded up, padded, kTile]
};

struct Rows {
  std::array<const float*, kRows> queries;
  std::array<float*, kRows> outputs;
  int64_t visible = 0;  // keys that the first sees; each other one more
};

using RowLanes = std::array<Lanes, kRows>;

// Products with all keys up to the last row's; returns each row's largest among whole tiles that
// all rows see.
PRUNUS_INLINE RowLanes score_rows(const PackedHead& head, const Rows& rows, int64_t end,
                                  float* scores) {
  const float *q0 = rows.queries[0], *q1 = rows.queries[1];
  const float *q2 = rows.queries[2], *q3 = rows.queries[3];
  const Lanes none = Lanes{} - std::numeric_limits<float>::infinity();
  Lanes best0 = none, best1 = none, best2 = none, best3 = none;
  const int64_t stride = head.padded;
  for (int64_t j = 0; j < end; j += kTile) {
    Lanes a0{}, a1{}, a2{}, a3{}, b0{}, b1{}, b2{}, b3{};
    const float* keys = head.keys + j;
    for (int64_t c = 0; c < head.dim; ++c, keys += stride) {
      const Lanes a = load(keys), b = load(keys + kLanes);
      a0 += q0[c] * a, b0 += q0[c] * b;
      a1 += q1[c] * a, b1 += q1[c] * b;
      a2 += q2[c] * a, b2 += q2[c] * b;
      a3 += q3[c] * a, b3 += q3[c] * b;
    }
    float* to = scores + j;
    store(to, a0), store(to + kLanes, b0);
    store(to + stride, a1), store(to + stride + kLanes, b1);
    store(to + 2 * stride, a2), store(to + 2 * stride + kLanes, b2);
    store(to + 3 * stride, a3), store(to + 3 * stride + kLanes, b3);
    if (j + kTile <= rows.visible) {
      best0 = larger(larger(a0, b0), best0), best1 = larger(larger(a1, b1), best1);
      best2 = larger(larger(a2, b2), best2), best3 = larger(larger(a3, b3), best3);
    }
  }
  return {best0, best1, best2, best3};
}

// Scores to 2^(score − largest); of keys that are not seen, to next to nothing. Returns 1 / sum.
PRUNUS_INLINE float exponentiate(float* scores, Lanes best, int64_t visible, int64_t end,
                                 int64_t whole) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < kLanes; ++i) largest = std::max(largest, best[i]);
  for (int64_t j = whole; j < visible; ++j) largest = std::max(largest, scores[j]);
  std::fill(scores + visible, scores + end, -std::numeric_limits<float>::infinity());
  Lanes sums{};
  for (int64_t j = 0; j < end; j += kLanes) {
    const Lanes power = power_of_two(load(scores + j) - largest);
    store(scores + j, power);
    sums += power;
  }
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += sums[i];
  return 1 / sum;
}

// Σ_j scores[row, j] · values[j] · factors[row], for the channels of one tile.
PRUNUS_INLINE void mix_values(const PackedHead& head, const float* values, const float* scores,
                              int64_t end, const std::array<float, kRows>& factors, float* mixed) {
  Lanes a0{}, a1{}, a2{}, a3{}, b0{}, b1{}, b2{}, b3{};
  const int64_t stride = head.padded;
  for (int64_t j = 0; j < end; ++j, values += kTile, ++scores) {
    const Lanes a = load(values), b = load(values + kLanes);
    a0 += scores[0] * a, b0 += scores[0] * b;
    a1 += scores[stride] * a, b1 += scores[stride] * b;
    a2 += scores[2 * stride] * a, b2 += scores[2 * stride] * b;
    a3 += scores[3 * stride] * a, b3 += scores[3 * stride] * b;
  }
  const std::array<Lanes, 2 * kRows> sums{a0, b0, a1, b1, a2, b2, a3, b3};
  for (size_t i = 0; i < sums.size(); ++i) store(mixed + i * kLanes, sums[i] * factors[i / 2]);
}

PRUNUS_ALSO_FOR_AVX2
void attend_rows(const PackedHead& head, const Rows& rows, float* scores) {
  const int64_t end = std::min(head.padded, (rows.visible + kRows - 1 + kTile - 1) / kTile * kTile);
  const int64_t whole = rows.visible / kTile * kTile;
  const RowLanes best = score_rows(head, rows, end, scores);
  std::array<float, kRows> factors;
  for (int64_t r = 0; r < kRows; ++r) {
    const auto row = static_cast<size_t>(r);
    factors[row] = exponentiate(scores + r * head.padded, best[row],
                                std::min(rows.visible + r, end), end, whole);
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

// Where a place's channels of a head are.
class Places {
 public:
  explicit Places(const at::Tensor& x)
      : data_(x.const_data_ptr<float>()),
        seq_(x.size(2)),
        row_(x.stride(0)),
        head_(x.stride(1)),
        place_(x.stride(2)) {}
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
  scratch.scores.resize(static_cast<size_t>(kRows * padded));
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

bool takes_small_heads(const at::Tensor& queries) {
#if defined(__x86_64__)
  static const bool fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  constexpr bool fast = false;
#endif
  return fast && queries.is_cpu() && queries.scalar_type() == at::kFloat &&
         queries.size(3) <= kMaxHeadDim && !at::GradMode::is_enabled();
}

void attend_small_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::span<const AttentionPath> paths, double scale, at::Tensor& out) {
  const int64_t dim = q.size(3), kv_heads = k.size(1);
  const int64_t times = q.size(1) / kv_heads;
  const int64_t width = q.size(1) * dim;
  const Places queries(q), keys(k), values(v);
  const auto factor = static_cast<float>(scale * std::numbers::log2e);
  float* to = out.mutable_data_ptr<float>();
  const auto one = [&](int64_t index) {
    thread_local Scratch scratch;
    const AttentionPath& path = paths[static_cast<size_t>(index / kv_heads)];
    const int64_t kv_head = index % kv_heads;
    const PackedHead head = packed(keys, values, kv_head, dim, path, factor, scratch);
    std::array<float, kMaxHeadDim> unused;
    const auto length = static_cast<int64_t>(path.places.size());
    for (int64_t h = kv_head * times; h < (kv_head + 1) * times; ++h) {
      for (int64_t i = path.start; i < length; i += kRows) {
        Rows rows{.queries = {}, .outputs = {}, .visible = i + 1};
        for (int64_t r = 0; r < kRows; ++r) {
          const int64_t place = path.places[static_cast<size_t>(std::min(i + r, length - 1))];
          rows.queries[static_cast<size_t>(r)] = queries.at(h, place);
          rows.outputs[static_cast<size_t>(r)] =
              i + r < length ? to + place * width + h * dim : unused.data();
        }
        attend_rows(head, rows, scratch.scores.data());
      }
    }
  };
  for_each_parallel(static_cast<int64_t>(paths.size()) * kv_heads, one);
}

void attend_small_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        at::Tensor& out) {
  const int64_t seq = q.size(2);
  std::vector<int64_t> places(static_cast<size_t>(q.size(0) * seq));
  std::iota(places.begin(), places.end(), int64_t{0});
  std::vector<AttentionPath> paths;
  for (int64_t row = 0; row < q.size(0); ++row) {
    paths.push_back(
        {std::span(places).subspan(static_cast<size_t>(row * seq), static_cast<size_t>(seq))});
  }
  attend_small_heads(q, k, v, paths, scale, out);
}

}  // namespace prunus
