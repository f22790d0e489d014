#include "prunus/io/bitmask.h"

#include <bit>
#include <cstring>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/parallel.h"
#include "prunus/io/safetensors_dtype.h"

namespace prunus {
namespace {

constexpr int64_t kMostColumns = int64_t{1} << 40;

// Eight columns in each byte, the first in its lowest bit.
at::Tensor packed_bits(const at::Tensor& kept) {
  const int64_t bytes = bitmask_row_bytes(kept.size(1));
  at::Tensor bits = at::zeros({kept.size(0), bytes * 8}, at::kByte);
  bits.narrow(1, 0, kept.size(1)).copy_(kept);
  bits = bits.view({kept.size(0), bytes, 8});
  at::Tensor mask = at::zeros({kept.size(0), bytes}, at::kByte);
  for (int64_t bit = 0; bit < 8; ++bit) {
    mask.bitwise_or_(bits.select(2, bit).bitwise_left_shift(bit));
  }
  return mask;
}

// Columns [8 · byte, 8 · byte + 64) of a row, those that are there.
uint64_t mask_word(const uint8_t* row, int64_t byte, int64_t row_bytes) {
  uint64_t word = 0;
  std::memcpy(&word, row + byte, static_cast<size_t>(std::min<int64_t>(8, row_bytes - byte)));
  return word;
}

// Which bits of a word that begins at a column stand for one.
uint64_t columns_left(int64_t columns, int64_t first) {
  const int64_t left = columns - first;
  return left >= 64 ? ~uint64_t{0} : left <= 0 ? 0 : (uint64_t{1} << left) - 1;
}

// Numbers of one row, each put where its bit is: put(column, number of the value in the row).
template <typename Put>
void for_each_bit(const uint8_t* row, int64_t row_bytes, Put put) {
  int64_t index = 0;
  for (int64_t byte = 0; byte < row_bytes; byte += 8) {
    for (uint64_t word = mask_word(row, byte, row_bytes); word != 0; word &= word - 1) {
      put(8 * byte + std::countr_zero(word), index++);
    }
  }
}

template <typename From, typename To>
void expand_rows(const BitmaskMatrix& matrix, at::Tensor& dense) {
  const auto* values = static_cast<const From*>(matrix.values.const_data_ptr());
  const auto* masks = matrix.mask.const_data_ptr<uint8_t>();
  const auto* offsets = matrix.row_offsets.const_data_ptr<int64_t>();
  const float* scales = matrix.scales.defined() ? matrix.scales.const_data_ptr<float>() : nullptr;
  auto* out = static_cast<To*>(dense.mutable_data_ptr());
  const int64_t row_bytes = matrix.mask.size(1), columns = matrix.columns;
  constexpr int64_t kPiece = 64;  // rows
  for_each_parallel((matrix.rows() + kPiece - 1) / kPiece, [&](int64_t piece) {
    const int64_t end = std::min(matrix.rows(), (piece + 1) * kPiece);
    for (int64_t row = piece * kPiece; row < end; ++row) {
      const From* from = values + offsets[row];
      To* to = out + row * columns;
      for_each_bit(masks + row * row_bytes, row_bytes, [&](int64_t column, int64_t index) {
        if constexpr (std::is_same_v<To, From>) {
          to[column] = from[index];
        } else {
          to[column] = static_cast<To>(from[index]) * scales[row];
        }
      });
    }
  });
}

}  // namespace

at::ScalarType BitmaskMatrix::dtype() const {
  return values.scalar_type() == at::kChar ? at::kFloat : values.scalar_type();
}

int64_t BitmaskMatrix::bytes() const {
  if (rows() == 0) return 0;
  const int64_t count = values.numel() - row_offsets.const_data_ptr<int64_t>()[0];
  size_t all = mask.nbytes() + row_offsets.nbytes();
  if (scales.defined()) all += scales.nbytes();
  return static_cast<int64_t>(all) + count * static_cast<int64_t>(values.element_size());
}

BitmaskMatrix bitmask_of(const at::Tensor& dense) {
  const at::Tensor kept = dense.ne(0);
  const at::Tensor counts = kept.sum(1);
  return {.values = dense.masked_select(kept),
          .mask = packed_bits(kept),
          .row_offsets = counts.cumsum(0) - counts,
          .scales = {},
          .columns = dense.size(1)};
}

BitmaskMatrix bitmask_of_rounded(const at::Tensor& dense) {
  const at::Tensor wide = dense.to(at::kFloat);
  const at::Tensor scales = wide.abs().amax(1) / 127;
  const at::Tensor by = scales.masked_fill(scales.eq(0), 1).unsqueeze(1);
  BitmaskMatrix matrix = bitmask_of(wide.div(by).round_().clamp_(-127, 127).to(at::kChar));
  matrix.scales = scales;
  return matrix;
}

void check_bitmask(const BitmaskMatrix& matrix, const std::string& where) {
  const auto& [values, mask, offsets, scales, columns] = matrix;
  const int64_t rows = mask.dim() == 2 ? mask.size(0) : -1;
  const bool integers = values.scalar_type() == at::kChar;
  PRUNUS_CHECK(integers || is_weight_dtype(values.scalar_type()), Unsupported, where,
               ": values of type ", values.scalar_type(), ", expected BF16, F16, F32 or I8");
  PRUNUS_CHECK(values.dim() == 1, Corrupt, where, ": values of shape ", values.sizes(),
               ", expected one dimension");
  PRUNUS_CHECK(columns > 0 && columns <= kMostColumns, Corrupt, where, ": ", columns, " columns");
  const int64_t shortest = (columns + 7) / 8, padded = bitmask_row_bytes(columns);
  PRUNUS_CHECK(mask.scalar_type() == at::kByte && rows >= 0 &&
                   (mask.size(1) == shortest || mask.size(1) == padded),
               Corrupt, where, ": a mask of ", mask.scalar_type(), " ", mask.sizes(),
               ", expected U8 [rows, ", shortest, " or ", padded, "] for ", columns, " columns");
  PRUNUS_CHECK(offsets.scalar_type() == at::kLong && offsets.sizes() == c10::IntArrayRef({rows}),
               Corrupt, where, ": row offsets of ", offsets.scalar_type(), " ", offsets.sizes(),
               ", expected I64 [", rows, "]");
  PRUNUS_CHECK(!integers || (scales.defined() && scales.scalar_type() == at::kFloat &&
                             scales.sizes() == c10::IntArrayRef({rows})),
               Corrupt, where, ": values of I8 need a scale for each of the ", rows, " rows");
  const auto* bits = mask.const_data_ptr<uint8_t>();
  const auto* begins = offsets.const_data_ptr<int64_t>();
  const int64_t row_bytes = mask.size(1);
  int64_t count = 0;
  for (int64_t row = 0; row < rows; ++row) {
    PRUNUS_CHECK(begins[row] == count, Corrupt, where, ": row ", row, " begins at value ",
                 begins[row], ", but the rows before it have ", count, " by their mask");
    for (int64_t byte = 0; byte < row_bytes; byte += 8) {
      const uint64_t word = mask_word(bits + row * row_bytes, byte, row_bytes);
      PRUNUS_CHECK((word & ~columns_left(columns, 8 * byte)) == 0, Corrupt, where, ": the mask of ",
                   "row ", row, " has bits behind the last of ", columns, " columns");
      count += std::popcount(word);
    }
  }
  PRUNUS_CHECK(count == values.numel(), Corrupt, where, ": ", values.numel(),
               " values, but the mask has ", count, " bits");
}

at::Tensor expanded(const BitmaskMatrix& matrix) {
  at::Tensor dense = at::zeros({matrix.rows(), matrix.columns}, matrix.dtype());
  if (matrix.values.scalar_type() == at::kChar) {
    expand_rows<int8_t, float>(matrix, dense);
  } else if (matrix.values.element_size() == 4) {
    expand_rows<uint32_t, uint32_t>(matrix, dense);
  } else {
    expand_rows<uint16_t, uint16_t>(matrix, dense);
  }
  return dense;
}

}  // namespace prunus
