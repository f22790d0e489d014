#include "prunus/kernel/row_product.h"

#include <algorithm>
#include <array>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "prunus/base/parallel.h"
#include "prunus/kernel/any_type.h"
#include "prunus/kernel/bitmask_product.h"
#include "prunus/kernel/stored_vectors.h"
#include "prunus/kernel/targets.h"

namespace prunus::kernel {
namespace {

constexpr int64_t kAhead = 16;  // outputs

struct Operands {
  const float* x = nullptr;  // [rows, columns]
  const void* weight = nullptr;
  int64_t row_bytes = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  float* y = nullptr;  // [rows, y_stride]
  int64_t y_stride = 0;
};

// Outputs [begin, end) of all rows. Sums of one output are in one order, whatever stands beside it.
template <typename Format>
struct Bodies {
  template <int kLanes>
  class Body {
    using V = Vector<kLanes>;
    using Lanes = typename V::Lanes;

   public:
    static PRUNUS_INLINE void run(const Operands* o, int64_t begin, int64_t end) {
      int64_t row = 0;
      if constexpr (kAlone) {
        for (; row + 4 <= o->rows; row += 4) over_outputs<4, 2>(*o, row, begin, end);
      }
      for (; row + 2 <= o->rows; row += 2) over_outputs<2, kAlone ? 4 : 2>(*o, row, begin, end);
      if (row < o->rows) over_outputs<1, kAlone ? 4 : 2>(*o, row, begin, end);
    }

   private:
    // Numbers that stand alone are read sooner than multiplied, those of blocks are not.
    static constexpr bool kAlone = requires { typename Format::Number; };

    template <int kRows, int kOutputs>
    static PRUNUS_INLINE void over_outputs(const Operands& o, int64_t row, int64_t begin,
                                           int64_t end) {
      int64_t out = begin;
      for (; out + kOutputs <= end; out += kOutputs) block<kRows, kOutputs>(o, row, out);
      for (; out < end; ++out) block<kRows, 1>(o, row, out);
    }

    template <int kRows, int kOutputs>
    static PRUNUS_INLINE void block(const Operands& o, int64_t row, int64_t out) {
      constexpr int64_t kGroup = Format::kGroup;
      constexpr size_t kTwo = kGroup < 2 * kLanes ? 1 : 2;
      std::array<const char*, kOutputs> weights;
      std::array<const float*, kRows> rows;
      PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
        weights[j] =
            static_cast<const char*>(o.weight) + (out + static_cast<int64_t>(j)) * o.row_bytes;
      }
      PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
        rows[r] = o.x + (row + static_cast<int64_t>(r)) * o.columns;
      }
      // Two sums a place, so that an addition need not wait for the one before.
      std::array<std::array<std::array<Lanes, 2>, kOutputs>, kRows> sums{};
      const int64_t groups = o.columns / kGroup;
      for (int64_t g = 0; g < groups; ++g) {
        PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
          const auto group = Format::template group<kLanes>(weights[j], g);
          // The outputs after these, which lie behind them: the rows beside each other in one page
          // hide from the processor that it is read from front to back.
          __builtin_prefetch(address(group) + kAhead * o.row_bytes);
          for (int64_t begin = 0; begin < kGroup; begin += int64_t{kTwo} * kLanes) {
            PRUNUS_UNROLL for (size_t half = 0; half < kTwo; ++half) {
              const int64_t at = begin + static_cast<int64_t>(half) * kLanes;
              const Lanes weight = Format::template load<kLanes>(group, at);
              PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
                sums[r][j][half] += V::load(rows[r] + g * kGroup + at) * weight;
              }
            }
          }
        }
      }
      PRUNUS_UNROLL for (size_t r = 0; r < kRows; ++r) {
        PRUNUS_UNROLL for (size_t j = 0; j < kOutputs; ++j) {
          float sum = V::sum(sums[r][j][0] + sums[r][j][1]);
          for (int64_t i = groups * kGroup; i < o.columns; ++i) {
            sum += rows[r][i] * rest_at(weights[j], i);
          }
          o.y[(row + static_cast<int64_t>(r)) * o.y_stride + out + static_cast<int64_t>(j)] = sum;
        }
      }
    }

    static PRUNUS_INLINE const char* address(const auto& group) {
      if constexpr (requires { group.low; }) {
        return reinterpret_cast<const char*>(group.low);
      } else {
        return reinterpret_cast<const char*>(group.values);
      }
    }
    // Behind the last whole group: of numbers that stand alone.
    static PRUNUS_INLINE float rest_at(const char* row, int64_t column) {
      if constexpr (kAlone) {
        return static_cast<float>(reinterpret_cast<const typename Format::Number*>(row)[column]);
      } else {
        return 0;
      }
    }
  };
};

// Rows [begin, end) of a matrix, as FP32 [end − begin, columns].
template <typename Format>
struct UnpackBodies {
  template <int kLanes>
  class Body {
    using V = Vector<kLanes>;

   public:
    static PRUNUS_INLINE void run(const StoredMatrix* matrix, int64_t begin, int64_t end,
                                  float* out) {
      constexpr int64_t kGroup = Format::kGroup;
      const int64_t columns = matrix->columns, groups = columns / kGroup;
      for (int64_t row = begin; row < end; ++row, out += columns) {
        const char* from = static_cast<const char*>(matrix->data) + row * matrix->row_bytes;
        for (int64_t g = 0; g < groups; ++g) {
          const auto group = Format::template group<kLanes>(from, g);
          PRUNUS_UNROLL for (int64_t at = 0; at < kGroup; at += kLanes) {
            V::store(out + g * kGroup + at, Format::template load<kLanes>(group, at));
          }
        }
        if constexpr (requires { typename Format::Number; }) {
          const auto* numbers = reinterpret_cast<const typename Format::Number*>(from);
          for (int64_t i = groups * kGroup; i < columns; ++i)
            out[i] = static_cast<float>(numbers[i]);
        }
      }
    }
  };
};

template <typename Use>
void with_format(Stored type, Use use) {
  switch (type) {
    case Stored::Float:
      return use(Plain<float>());
    case Stored::BFloat16:
      return use(Plain<c10::BFloat16>());
    case Stored::Half:
      return use(Plain<c10::Half>());
    case Stored::Q4_0:
      return use(BlockQ4_0());
    case Stored::Q4_1:
      return use(BlockQ4_1());
    case Stored::Q5_0:
      return use(BlockQ5_0());
    case Stored::Q5_1:
      return use(BlockQ5_1());
    case Stored::Q8_0:
      return use(BlockQ8_0());
    case Stored::Q4_K:
      return use(BlockQ4_K());
    case Stored::Q5_K:
      return use(BlockQ5_K());
    case Stored::Q6_K:
      return use(BlockQ6_K());
    case Stored::BitmaskBFloat16:
    case Stored::BitmaskInt8:
      break;
  }
  TORCH_INTERNAL_ASSERT(false, "a matrix without zeros has no format of rows");
}

void add_bias(const RowProduct& product, int64_t rows, int64_t begin, int64_t end) {
  if (product.bias == nullptr || !product.bias->defined()) return;
  with_type(product.bias->scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* bias = product.bias->const_data_ptr<T>();
    for (int64_t row = 0; row < rows; ++row) {
      float* y = product.y + row * product.weight.outputs;
      for (int64_t i = begin; i < end; ++i) y[i] += static_cast<float>(bias[i]);
    }
  });
}

// x for the products with matrices without zeros, of which there are two kinds.
struct BitmaskInputs {
  BitmaskInput halves;
  BitmaskInput bytes;

  const BitmaskInput& of(Stored type) const { return type == Stored::BitmaskInt8 ? bytes : halves; }
  void prepare(const float* x, int64_t rows, std::span<const RowProduct> products, CpuLevel level) {
    for (const Stored type : {Stored::BitmaskBFloat16, Stored::BitmaskInt8}) {
      const auto one = std::find_if(products.begin(), products.end(), [&](const RowProduct& some) {
        return some.weight.type == type;
      });
      if (one == products.end()) continue;
      (type == Stored::BitmaskInt8 ? bytes : halves)
          .prepare(x, rows, one->weight.columns, type, level);
    }
  }
};

void multiply(const float* x, int64_t rows, const RowProduct& product, int64_t begin, int64_t end,
              const BitmaskInputs& inputs, CpuLevel level) {
  const StoredMatrix& weight = product.weight;
  if (is_bitmask(weight.type)) {
    bitmask_products(inputs.of(weight.type), weight, begin, end, product.y);
    return add_bias(product, rows, begin, end);
  }
  const Operands operands{x,         weight.data,   weight.row_bytes, rows, weight.columns,
                          product.y, weight.outputs};
  with_format(weight.type, [&](auto format) {
    run_at<Bodies<decltype(format)>::template Body>(level, &operands, begin, end);
  });
  add_bias(product, rows, begin, end);
}

// Bytes of a weight in front of an output.
int64_t bytes_before(const StoredMatrix& weight, int64_t output) {
  if (is_bitmask(weight.type)) return bitmask_bytes_before(weight, output);
  return output * weight.row_bytes;
}

// The first output in front of which so many bytes are, or more.
int64_t output_behind(const StoredMatrix& weight, int64_t bytes) {
  int64_t low = 0, high = weight.outputs;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (bytes_before(weight, middle) < bytes) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace

void row_products(const float* x, int64_t rows, std::span<const RowProduct> products,
                  CpuLevel level) {
  constexpr int64_t kPieceWeights = 1 << 15;  // below which another thread costs more than it does
  static thread_local BitmaskInputs inputs;
  inputs.prepare(x, rows, products, level);
  int64_t bytes = 0, weights = 0;
  for (const RowProduct& one : products) {
    bytes += bytes_before(one.weight, one.weight.outputs);
    weights += one.weight.outputs * one.weight.columns;
  }
  const int64_t most = std::max<int64_t>(1, weights / kPieceWeights);
  const int64_t pieces = std::min<int64_t>(most, 2 * at::get_num_threads());
  const int64_t step = (bytes + pieces - 1) / pieces;
  for_each_parallel(pieces, [&, &prepared = inputs](int64_t piece) {
    int64_t first = 0;  // of a product's bytes among all
    for (const RowProduct& one : products) {
      const int64_t begin = output_behind(one.weight, piece * step - first);
      const int64_t end = output_behind(one.weight, (piece + 1) * step - first);
      if (begin < end) multiply(x, rows, one, begin, end, prepared, level);
      first += bytes_before(one.weight, one.weight.outputs);
    }
  });
}

void unpack_rows(const StoredMatrix& matrix, int64_t begin, int64_t end, float* out,
                 CpuLevel level) {
  if (is_bitmask(matrix.type)) return unpack_bitmask(matrix, begin, end, out, level);
  with_format(matrix.type, [&](auto format) {
    run_at<UnpackBodies<decltype(format)>::template Body>(level, &matrix, begin, end, out);
  });
}

bool takes_row_product(const at::Tensor& weight) {
  const at::ScalarType type = weight.scalar_type();
  return weight.is_cpu() && weight.dim() == 2 && weight.stride(1) == 1 &&
         (type == at::kBFloat16 || type == at::kHalf);
}

StoredMatrix stored_matrix(const at::Tensor& weight) {
  const at::ScalarType type = weight.scalar_type();
  TORCH_INTERNAL_ASSERT(
      weight.is_cpu() && weight.dim() == 2 && weight.stride(1) == 1 && is_float_up_to_32(type),
      "stored_matrix: ", weight.sizes(), " of ", type);
  const Stored stored = type == at::kFloat      ? Stored::Float
                        : type == at::kBFloat16 ? Stored::BFloat16
                                                : Stored::Half;
  return {stored, weight.const_data_ptr(),
          weight.stride(0) * static_cast<int64_t>(weight.element_size()), weight.size(0),
          weight.size(1)};
}

void row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 at::Tensor& y, CpuLevel level) {
  TORCH_INTERNAL_ASSERT(takes_row_product(weight) && x.dim() == 2 && x.size(0) <= kMostRows &&
                            x.size(1) == weight.size(1) && y.is_contiguous() &&
                            y.numel() == x.size(0) * weight.size(0),
                        "row_product: x ", x.sizes(), ", weight ", weight.sizes(), ", y ",
                        y.sizes());
  const at::Tensor input = x.to(at::kFloat).contiguous();
  const bool direct = y.scalar_type() == at::kFloat;
  at::Tensor sums = direct ? y : at::empty({x.size(0), weight.size(0)}, at::kFloat);
  const at::Tensor added = bias.defined() ? bias.contiguous() : bias;
  const RowProduct product{stored_matrix(weight), &added, sums.mutable_data_ptr<float>()};
  row_products(input.const_data_ptr<float>(), x.size(0), {&product, 1}, level);
  if (!direct) y.copy_(sums.view(y.sizes()));
}

}  // namespace prunus::kernel
