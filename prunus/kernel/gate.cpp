#include "prunus/kernel/gate.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/parallel.h"
#include "prunus/kernel/any_type.h"
#include "prunus/kernel/targets.h"
#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

template <typename T>
struct Bodies {
  template <int kLanes>
  class Body {
    using V = Vector<kLanes>;
    using Lanes = typename V::Lanes;

   public:
    static PRUNUS_INLINE void run(Gate kind, T* x, const T* up, int64_t count) {
      if (kind == Gate::Silu) {
        apply(x, up, count, [](Lanes v) PRUNUS_ALWAYS { return v; });
      } else {
        constexpr float k = 1.5957691216057308F;  // 2 · √(2/π)
        apply(x, up, count,
              [](Lanes v) PRUNUS_ALWAYS { return k * (v + 0.044715F * (v * v * v)); });
      }
    }

   private:
    template <typename Bend>
    static PRUNUS_INLINE Lanes one(Lanes x, Lanes up, Bend bend) {
      const Lanes power = V::power_of_two(bend(x) * -std::numbers::log2e_v<float>);
      return x / (1.0F + power) * up;
    }

    template <typename Bend>
    static PRUNUS_INLINE void apply(T* x, const T* up, int64_t count, Bend bend) {
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) {
        V::store(x + i, one(V::load(x + i), V::load(up + i), bend));
      }
      if (i == count) return;
      std::array<T, kLanes> last{}, other{};
      std::copy(x + i, x + count, last.begin());
      std::copy(up + i, up + count, other.begin());
      V::store(last.data(), one(V::load(last.data()), V::load(other.data()), bend));
      std::copy_n(last.begin(), count - i, x + i);
    }
  };
};

}  // namespace

bool takes_gate(const at::Tensor& x, const at::Tensor& up) {
  const bool trained = at::GradMode::is_enabled() && (x.requires_grad() || up.requires_grad());
  return x.is_cpu() && up.is_cpu() && !trained && is_float_up_to_32(x.scalar_type()) &&
         x.scalar_type() == up.scalar_type() && x.is_contiguous() && up.is_contiguous() &&
         x.sizes() == up.sizes();
}

void gate(Gate kind, at::Tensor& x, const at::Tensor& up, CpuLevel level) {
  TORCH_INTERNAL_ASSERT(takes_gate(x, up), "gate: ", x.sizes(), " and ", up.sizes());
  constexpr int64_t kPiece = 1 << 15;
  const int64_t count = x.numel();
  with_type(x.scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T* values = x.mutable_data_ptr<T>();
    const T* factors = up.const_data_ptr<T>();
    for_each_parallel((count + kPiece - 1) / kPiece, [&](int64_t piece) {
      const int64_t begin = piece * kPiece;
      run_at<Bodies<T>::template Body>(level, kind, values + begin, factors + begin,
                                       std::min(kPiece, count - begin));
    });
  });
}

void gate(Gate kind, float* x, const float* up, int64_t count, CpuLevel level) {
  run_at<Bodies<float>::Body>(level, kind, x, up, count);
}

}  // namespace prunus::kernel
