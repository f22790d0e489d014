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
  return q.is_cpu() && k.is_cpu() && q.size(2) == 1 && q.size(3) <= kMostHeadChannels &&
         is_float_up_to_32(q.scalar_type()) && is_float_up_to_32(k.scalar_type()) &&
         k.scalar_type() == v.scalar_type() && k.stride(3) == 1 && v.stride(3) == 1;
}

at::Tensor attend_one_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t first, CpuLevel level) {
  TORCH_INTERNAL_ASSERT(takes_one_place(q, k, v), "attend_one_place: q ", q.sizes(), ", k ",
                        k.sizes());
  const at::Tensor queries = q.to(at::kFloat).contiguous();
  at::Tensor out = at::empty({q.size(0), 1, q.size(1) * q.size(3)}, queries.options());
  attend_one_place(queries.const_data_ptr<float>(), q.size(1), k, v, scale, first,
                   out.mutable_data_ptr<float>(), level);
  return out.to(v.scalar_type());
}

void attend_one_place(const float* q, int64_t heads, const at::Tensor& k, const at::Tensor& v,
                      double scale, int64_t first, float* out, CpuLevel level) {
  constexpr int64_t kFewNumbers = 1 << 16;  // so few take less time than a second thread's start
  const int64_t batch = k.size(0), dim = k.size(3), times = heads / k.size(1);
  const int64_t length = k.size(2) - first;
  TORCH_INTERNAL_ASSERT(first >= 0 && length > 0 && dim <= kMostHeadChannels,
                        "attend_one_place: k ", k.sizes(), ", from ", first);
  const auto factor = static_cast<float>(scale * std::numbers::log2e);
  with_type(k.scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T *all_keys = k.const_data_ptr<T>(), *all_values = v.const_data_ptr<T>();
    const auto attend = [&](int64_t index) {
      thread_local std::vector<float> scores;
      if (std::ssize(scores) < length) scores.resize(static_cast<size_t>(length));
      std::array<float, kMostHeadChannels> query;
      for (int64_t c = 0; c < dim; ++c) query[static_cast<size_t>(c)] = q[index * dim + c] * factor;
      const int64_t row = index / heads, kv_head = index % heads / times;
      const T* keys = all_keys + row * k.stride(0) + kv_head * k.stride(1);
      const T* values = all_values + row * v.stride(0) + kv_head * v.stride(1);
      const Head head{query.data(),
                      keys + first * k.stride(2),
                      values + first * v.stride(2),
                      k.stride(2),
                      v.stride(2),
                      length,
                      dim,
                      scores.data(),
                      out + index * dim};
      run_at<Bodies<T>::template Body>(level, &head);
    };
    if (batch * heads * length * dim < kFewNumbers) {
      for (int64_t i = 0; i < batch * heads; ++i) attend(i);
    } else {
      for_each_parallel(batch * heads, attend);
    }
  });
}

}  // namespace prunus::kernel
