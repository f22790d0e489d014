#include "prunus/kernel/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/parallel.h"
#include "prunus/kernel/any_type.h"
#include "prunus/kernel/targets.h"
#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

struct Rows {
  const void* x = nullptr;
  void* y = nullptr;
  const float* gain = nullptr;  // or null
  const float* bias = nullptr;  // or null
  int64_t columns = 0;
  NormRule rule;
};

template <typename In, typename Out>
struct Bodies {
  template <int kLanes>
  class Body {
    using V = Vector<kLanes>;
    using Lanes = typename V::Lanes;

   public:
    static PRUNUS_INLINE void run(const Rows* rows, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        one(*rows, static_cast<const In*>(rows->x) + row * rows->columns,
            static_cast<Out*>(rows->y) + row * rows->columns);
      }
    }

   private:
    // Σ of what `term` makes of every channel.
    template <typename Term>
    static PRUNUS_INLINE float sum_over(const In* x, int64_t columns, Term term) {
      Lanes first{}, second{};
      int64_t i = 0;
      for (; i + 2 * kLanes <= columns; i += 2 * kLanes) {
        first += term(V::load(x + i));
        second += term(V::load(x + i + kLanes));
      }
      float sum = V::sum(first + second);
      for (; i < columns; ++i) sum += term(static_cast<float>(x[i]));
      return sum;
    }

    static PRUNUS_INLINE void one(const Rows& rows, const In* x, Out* y) {
      const int64_t n = rows.columns;
      const auto count = static_cast<float>(n);
      float mean = 0;
      if (rows.rule.centred) mean = sum_over(x, n, [](auto v) PRUNUS_ALWAYS { return v; }) / count;
      const float squares =
          sum_over(x, n, [mean](auto v) PRUNUS_ALWAYS { return (v - mean) * (v - mean); });
      const float factor = 1.0F / std::sqrt(squares / count + static_cast<float>(rows.rule.eps));
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) {
        Lanes value = (V::load(x + i) - mean) * factor;
        if (rows.gain != nullptr) value *= V::load(rows.gain + i);
        if (rows.bias != nullptr) value += V::load(rows.bias + i);
        V::store(y + i, value);
      }
      for (; i < n; ++i) {
        float value = (static_cast<float>(x[i]) - mean) * factor;
        if (rows.gain != nullptr) value *= rows.gain[i];
        if (rows.bias != nullptr) value += rows.bias[i];
        y[i] = static_cast<Out>(value);
      }
    }
  };
};

}  // namespace

bool takes_norm(const at::Tensor& x) {
  const bool trained = at::GradMode::is_enabled() && x.requires_grad();
  return x.is_cpu() && !trained && is_float_up_to_32(x.scalar_type()) && x.dim() > 0 &&
         x.size(-1) > 0 &&
         (x.is_contiguous() || (x.dim() == 4 && x.transpose(1, 2).is_contiguous()));
}

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                const NormRule& rule, at::ScalarType out, CpuLevel level) {
  TORCH_INTERNAL_ASSERT(takes_norm(x), "norm: x ", x.sizes(), " with strides ", x.strides());
  if (!x.is_contiguous())
    return norm(x.transpose(1, 2), weight, bias, rule, out, level).transpose(1, 2);
  constexpr int64_t kPieceNumbers = 1 << 15;
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(out));
  at::Tensor gain, offset;
  if (weight.defined()) {
    gain = weight.to(at::kFloat).contiguous();
    if (rule.plus_one) gain = gain + 1;
  }
  if (bias.defined()) offset = bias.to(at::kFloat).contiguous();
  const int64_t columns = x.size(-1), count = x.numel() / columns;
  const Rows rows{x.const_data_ptr(),
                  y.mutable_data_ptr(),
                  gain.defined() ? gain.const_data_ptr<float>() : nullptr,
                  offset.defined() ? offset.const_data_ptr<float>() : nullptr,
                  columns,
                  rule};
  const int64_t step = std::max<int64_t>(1, kPieceNumbers / columns);
  with_type(x.scalar_type(), [&](auto* in) {
    with_type(out, [&](auto* to) {
      using In = std::remove_pointer_t<decltype(in)>;
      using Out = std::remove_pointer_t<decltype(to)>;
      for_each_parallel((count + step - 1) / step, [&](int64_t piece) {
        run_at<Bodies<In, Out>::template Body>(level, &rows, piece * step,
                                               std::min(count, (piece + 1) * step));
      });
    });
  });
  return y;
}

namespace {

// `from` as FP32, in `memory` where it is of another type.
const float* as_floats(const at::Tensor& from, float more, std::vector<float>& memory) {
  if (from.scalar_type() == at::kFloat && more == 0) return from.const_data_ptr<float>();
  memory.resize(static_cast<size_t>(from.numel()));
  with_type(from.scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* values = from.const_data_ptr<T>();
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(values[i]) + more;
  });
  return memory.data();
}

}  // namespace

void norm_rows(const float* x, int64_t rows, int64_t n, const at::Tensor& weight,
               const at::Tensor& bias, const NormRule& rule, float* y, CpuLevel level) {
  thread_local std::vector<float> gains, biases;
  const Rows all{x,
                 y,
                 weight.defined() ? as_floats(weight, rule.plus_one ? 1 : 0, gains) : nullptr,
                 bias.defined() ? as_floats(bias, 0, biases) : nullptr,
                 n,
                 rule};
  run_at<Bodies<float, float>::Body>(level, &all, int64_t{0}, rows);
}

}  // namespace prunus::kernel
