#include "prunus/kernel/row_product.h"

#include <algorithm>
#include <array>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/base/parallel.h"
#include "prunus/kernel/targets.h"
#include "prunus/kernel/vectors.h"

namespace prunus::kernel {
namespace {

constexpr int64_t kAhead = 16;  // outputs

struct Operands {
  const float* x = nullptr;  // [rows, columns]
  const void* weight = nullptr;
  int64_t weight_stride = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  float* y = nullptr;  // [rows, y_stride]
  int64_t y_stride = 0;
};

// Outputs [begin, end) of all rows. Sums of one output are in one order, whatever stands beside it.
template <typename Stored>
struct Bodies {
  template <int kLanes>
  class Body {
    using V = Vector<kLanes>;
    using Lanes = typename V::Lanes;

   public:
    static PRUNUS_INLINE void run(const Operands* o, int64_t begin, int64_t end) {
      for (int64_t row = 0; row < o->rows;) {
        if (o->rows - row >= 4) {
          over_outputs<4, 2>(*o, row, begin, end);
          row += 4;
        } else if (o->rows - row >= 2) {
          over_outputs<2, 4>(*o, row, begin, end);
          row += 2;
        } else {
          over_outputs<1, 4>(*o, row, begin, end);
          row += 1;
        }
      }
    }

   private:
    template <int kRows, int kOutputs>
    static PRUNUS_INLINE void over_outputs(const Operands& o, int64_t row, int64_t begin,
                                           int64_t end) {
      int64_t out = begin;
      for (; out + kOutputs <= end; out += kOutputs) block<kRows, kOutputs>(o, row, out);
      for (; out < end; ++out) block<kRows, 1>(o, row, out);
    }

    template <int kRows, int kOutputs>
    static PRUNUS_INLINE void block(const Operands& o, int64_t row, int64_t out) {
      std::array<const Stored*, kOutputs> weights;
      std::array<const float*, kRows> rows;
      PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
        weights[j] = static_cast<const Stored*>(o.weight) +
                     (out + static_cast<int64_t>(j)) * o.weight_stride;
      }
      PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
        rows[r] = o.x + (row + static_cast<int64_t>(r)) * o.columns;
      }
      // Two sums a place, so that an addition need not wait for the one before.
      std::array<std::array<std::array<Lanes, 2>, kOutputs>, kRows> sums{};
      int64_t i = 0;
      for (; i + 2 * kLanes <= o.columns; i += 2 * kLanes) {
        // The outputs after these, which lie behind them: the rows beside each other in one page
        // hide from the processor that it is read from front to back.
        PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
          __builtin_prefetch(weights[j] + i + kAhead * o.weight_stride);
        }
        PRUNUS_UNROLL for (size_t half = 0; half < 2; ++half) {
          const int64_t at = i + static_cast<int64_t>(half) * kLanes;
          PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
            const Lanes weight = V::load(weights[j] + at);
            PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
              sums[r][j][half] += V::load(rows[r] + at) * weight;
            }
          }
        }
      }
      PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
        PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
          float sum = V::sum(sums[r][j][0] + sums[r][j][1]);
          for (int64_t rest = i; rest < o.columns; ++rest) {
            sum += rows[r][rest] * static_cast<float>(weights[j][rest]);
          }
          o.y[(row + static_cast<int64_t>(r)) * o.y_stride + out + static_cast<int64_t>(j)] = sum;
        }
      }
    }
  };
};

}  // namespace

bool takes_row_product(const at::Tensor& weight) {
  const at::ScalarType type = weight.scalar_type();
  return weight.is_cpu() && weight.dim() == 2 && weight.stride(1) == 1 &&
         (type == at::kBFloat16 || type == at::kHalf);
}

void row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 at::Tensor& y, CpuLevel level) {
  TORCH_INTERNAL_ASSERT(takes_row_product(weight) && x.dim() == 2 && x.size(0) <= kMostRows &&
                            x.size(1) == weight.size(1) && y.is_contiguous() &&
                            y.numel() == x.size(0) * weight.size(0),
                        "row_product: x ", x.sizes(), ", weight ", weight.sizes(), ", y ",
                        y.sizes());
  const int64_t outputs = weight.size(0);
  const at::Tensor input = x.to(at::kFloat).contiguous();
  const bool direct = y.scalar_type() == at::kFloat;
  at::Tensor sums = direct ? y : at::empty({x.size(0), outputs}, at::kFloat);
  const Operands operands{input.const_data_ptr<float>(),
                          weight.const_data_ptr(),
                          weight.stride(0),
                          x.size(0),
                          x.size(1),
                          sums.mutable_data_ptr<float>(),
                          outputs};
  constexpr int64_t kPieceWeights = 1 << 15;  // below which another thread costs more than it does
  const int64_t most = std::max<int64_t>(1, weight.numel() / kPieceWeights);
  const int64_t pieces = std::min<int64_t>(most, 2 * at::get_num_threads());
  const int64_t step = (outputs + pieces - 1) / pieces;
  const bool brain = weight.scalar_type() == at::kBFloat16;
  for_each_parallel(pieces, [&](int64_t piece) {
    const int64_t begin = piece * step, end = std::min(outputs, begin + step);
    if (brain) {
      run_at<Bodies<c10::BFloat16>::Body>(level, &operands, begin, end);
    } else {
      run_at<Bodies<c10::Half>::Body>(level, &operands, begin, end);
    }
  });
  if (bias.defined()) sums.add_(bias);
  if (!direct) y.copy_(sums.view(y.sizes()));
}

}  // namespace prunus::kernel
