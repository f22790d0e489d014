#include "prunus/kernel/one_place.h"

#include <algorithm>
#include <limits>
#include <numbers>
#include <vector>

#include <ATen/ATen.h>

#include "prunus/base/parallel.h"
#include "prunus/kernel/any_type.h"
#include "prunus/kernel/targets.h"
#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

constexpr int64_t kMostChannels = 256;

// One query head and the keys and values that it sees.
struct Head {
  const float* query = nullptr;  // [dim], times scale · log2 e
  const void* keys = nullptr;
  const void* values = nullptr;
  int64_t key_stride = 0;  // from place to place
  int64_t value_stride = 0;
  int64_t length = 0;
  int64_t dim = 0;
  float* scores = nullptr;  // [length]
  float* out = nullptr;     // [dim]
};

template <typename T>
struct Bodies {
  template <int kLanes>
  class Body {
    using V = Vector<kLanes>;
    using Lanes = typename V::Lanes;

   public:
    static PRUNUS_INLINE void run(const Head* head) {
      const float best = multiply_keys(*head);
      const float sum = exponentiate(*head, best);
      int64_t c = 0;
      for (; c + 4 * kLanes <= head->dim; c += 4 * kLanes) mix<4>(*head, c, sum);
      for (; c + kLanes <= head->dim; c += kLanes) mix<1>(*head, c, sum);
      for (; c < head->dim; ++c) mix_channel(*head, c, sum);
    }

   private:
    static PRUNUS_INLINE const T* key(const Head& head, int64_t place) {
      return static_cast<const T*>(head.keys) + place * head.key_stride;
    }
    static PRUNUS_INLINE const T* value(const Head& head, int64_t place) {
      return static_cast<const T*>(head.values) + place * head.value_stride;
    }

    static PRUNUS_INLINE float multiply_keys(const Head& head) {
      float best = -std::numeric_limits<float>::infinity();
      for (int64_t j = 0; j < head.length; ++j) {
        const T* line = key(head, j);
        Lanes sums{};
        int64_t c = 0;
        for (; c + kLanes <= head.dim; c += kLanes) {
          sums += V::load(head.query + c) * V::load(line + c);
        }
        float score = V::sum(sums);
        for (; c < head.dim; ++c) score += head.query[c] * static_cast<float>(line[c]);
        head.scores[j] = score;
        best = score > best || score != score ? score : best;
      }
      return best;
    }

    static PRUNUS_INLINE float exponentiate(const Head& head, float best) {
      Lanes sums{};
      int64_t j = 0;
      for (; j + kLanes <= head.length; j += kLanes) {
        const Lanes power = V::power_of_two(V::load(head.scores + j) - best);
        V::store(head.scores + j, power);
        sums += power;
      }
      float sum = V::sum(sums);
      if (j == head.length) return sum;
      std::array<float, kLanes> last{};
      std::copy(head.scores + j, head.scores + head.length, last.begin());
      V::store(last.data(), V::power_of_two(V::load(last.data()) - best));
      for (size_t i = 0; j < head.length; ++i, ++j) {
        head.scores[j] = last[i];
        sum += last[i];
      }
      return sum;
    }

    template <int kParts>
    static PRUNUS_INLINE void mix(const Head& head, int64_t c, float sum) {
      std::array<Lanes, kParts> mixed{};
      for (int64_t j = 0; j < head.length; ++j) {
        const T* line = value(head, j) + c;
        const float weight = head.scores[j];
        PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) {
          mixed[i] += weight * V::load(line + static_cast<int64_t>(i) * kLanes);
        }
      }
      PRUNUS_UNROLL for (size_t i = 0; i < kParts; ++i) {
        V::store(head.out + c + static_cast<int64_t>(i) * kLanes, mixed[i] / sum);
      }
    }
    static PRUNUS_INLINE void mix_channel(const Head& head, int64_t c, float sum) {
      float mixed = 0;
      for (int64_t j = 0; j < head.length; ++j) {
        mixed += head.scores[j] * static_cast<float>(value(head, j)[c]);
      }
      head.out[c] = mixed / sum;
    }
  };
};

}  // namespace

bool takes_one_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return q.is_cpu() && k.is_cpu() && q.size(2) == 1 && q.size(3) <= kMostChannels &&
         is_float_up_to_32(q.scalar_type()) && is_float_up_to_32(k.scalar_type()) &&
         k.scalar_type() == v.scalar_type() && k.stride(3) == 1 && v.stride(3) == 1;
}

at::Tensor attend_one_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t first, CpuLevel level) {
  TORCH_INTERNAL_ASSERT(takes_one_place(q, k, v) && first >= 0 && first < k.size(2),
                        "attend_one_place: q ", q.sizes(), ", k ", k.sizes(), ", from ", first);
  const int64_t heads = q.size(1), dim = q.size(3), times = heads / k.size(1);
  const at::Tensor queries = (q.to(at::kFloat) * (scale * std::numbers::log2e)).contiguous();
  at::Tensor out = at::empty({q.size(0), 1, heads * dim}, q.options().dtype(at::kFloat));
  const int64_t length = k.size(2) - first;
  with_type(k.scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for_each_parallel(q.size(0) * heads, [&](int64_t index) {
      thread_local std::vector<float> scores;
      scores.resize(static_cast<size_t>(length));
      const int64_t row = index / heads, kv_head = index % heads / times;
      const T* keys = k.const_data_ptr<T>() + row * k.stride(0) + kv_head * k.stride(1);
      const T* values = v.const_data_ptr<T>() + row * v.stride(0) + kv_head * v.stride(1);
      const Head head{queries.const_data_ptr<float>() + index * dim,
                      keys + first * k.stride(2),
                      values + first * v.stride(2),
                      k.stride(2),
                      v.stride(2),
                      length,
                      dim,
                      scores.data(),
                      out.mutable_data_ptr<float>() + index * dim};
      run_at<Bodies<T>::template Body>(level, &head);
    });
  });
  return out.to(v.scalar_type());
}

}  // namespace prunus::kernel
