#include "prunus/kernel/bitmask_product.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace prunus::kernel {
namespace {

constexpr int64_t kReadBehind = 64;  // bytes

int64_t number_bytes(Stored type) { return type == Stored::BitmaskInt8 ? 1 : 2; }

int64_t row_end(const StoredMatrix& matrix, int64_t output) {
  return output + 1 < matrix.outputs ? matrix.mask.row_offsets[output + 1] : matrix.mask.end;
}

BitmaskCode code_of(Stored type, int64_t columns, CpuLevel level) {
#if defined(__x86_64__)
  constexpr int64_t kMostColumns = 1 << 20;  // beyond which sums of Bytes leave 32 bits
  if (level >= CpuLevel::Avx512Vbmi && columns <= kMostColumns) return vbmi_bitmask(type, level);
  if (level >= CpuLevel::Avx2) return avx2_bitmask(type);
#endif
  static_cast<void>(columns);
  static_cast<void>(level);
  return portable_bitmask(type);
}

int64_t bytes_of_word(BitmaskLayout layout) {
  switch (layout) {
    case BitmaskLayout::Plain:
    case BitmaskLayout::Pairs:
      return 64 * sizeof(float);
    case BitmaskLayout::Halves:
      return 64 * 3 * sizeof(uint16_t);
    case BitmaskLayout::Bytes:
      return 64 * 3;
  }
  return 0;
}

void split_into_pairs(const float* x, int64_t columns, float* out) {
  for (int64_t at = 0; at < columns; at += 32) {
    for (int64_t i = 0; i < 16; ++i) {
      out[at + i] = x[at + 2 * i];
      out[at + 16 + i] = x[at + 2 * i + 1];
    }
  }
}

// Rows of a matrix for the code of a level. Those at the end of the numbers, behind which nothing
// may be read, are copied.
class Rows {
 public:
  Rows(const StoredMatrix& matrix, int slots)
      : matrix_(matrix), size_(number_bytes(matrix.type)), copies_(static_cast<size_t>(slots)) {}

  BitmaskRow at(int64_t output, size_t slot) {
    const int64_t begin = matrix_.mask.row_offsets[output], end = row_end(matrix_, output);
    const auto* values = static_cast<const char*>(matrix_.data) + begin * size_;
    if ((matrix_.mask.end - end) * size_ < kReadBehind) {
      std::vector<char>& copy = copies_[slot];
      copy.resize(static_cast<size_t>((end - begin) * size_ + kReadBehind));
      if (end > begin) std::memcpy(copy.data(), values, static_cast<size_t>((end - begin) * size_));
      values = copy.data();
    }
    return {values, matrix_.mask.bits + output * matrix_.row_bytes};
  }

 private:
  const StoredMatrix& matrix_;
  int64_t size_;
  std::vector<std::vector<char>> copies_;
};

// Whole rows, and so far that memory has the time to answer.
void look_ahead(const StoredMatrix& weight, BitmaskCall& call) {
  constexpr int64_t kAheadBytes = 8192;
  const int64_t size = number_bytes(weight.type);
  const int64_t all = (weight.mask.end - weight.mask.row_offsets[0]) * size;
  const int64_t row = std::max<int64_t>(1, all / weight.outputs);
  const int64_t rows = std::max<int64_t>(2, (kAheadBytes + row - 1) / row);
  call.values_ahead = rows * row;
  call.mask_ahead = rows * weight.row_bytes;
}

}  // namespace

void BitmaskInput::prepare(const float* x, int64_t rows, int64_t columns, Stored type,
                           CpuLevel level) {
  code_ = code_of(type, columns, level);
  rows_ = rows;
  words_ = (columns + 63) / 64;
  row_bytes_ = words_ * bytes_of_word(code_.layout);
  memory_.resize(static_cast<size_t>(rows * row_bytes_ / 64));
  units_.resize(static_cast<size_t>(rows));
  shifts_.resize(static_cast<size_t>(rows));
  std::vector<float> padded;
  const int64_t all = 64 * words_;
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = x + row * columns;
    if (all > columns) {
      padded.assign(static_cast<size_t>(all), 0.0F);
      std::copy(from, from + columns, padded.begin());
      from = padded.data();
    }
    char* to = begin(row);
    const auto at = static_cast<size_t>(row);
    switch (code_.layout) {
      case BitmaskLayout::Plain:
        std::memcpy(to, from, static_cast<size_t>(row_bytes_));
        break;
      case BitmaskLayout::Pairs:
        split_into_pairs(from, all, reinterpret_cast<float*>(to));
        break;
#if defined(__x86_64__)
      case BitmaskLayout::Halves:
        split_into_halves(from, all, reinterpret_cast<uint16_t*>(to));
        break;
      case BitmaskLayout::Bytes:
        split_into_bytes(from, all, reinterpret_cast<int8_t*>(to), units_[at], shifts_[at]);
        break;
#endif
      default:
        static_cast<void>(at);
        break;
    }
  }
}

BitmaskCall BitmaskInput::call(int64_t row) const {
  BitmaskCall call;
  call.x = reinterpret_cast<const char*>(memory_.data()) + row * row_bytes_;
  call.x_bytes = row_bytes_;
  call.words = words_;
  call.unit = units_.data() + row;
  call.shift = shifts_.data() + row;
  return call;
}

void bitmask_products(const BitmaskInput& x, const StoredMatrix& weight, int64_t begin, int64_t end,
                      float* y) {
  const BitmaskCode& code = x.code();
  Rows rows(weight, code.most_outputs);
  BitmaskCall ahead;
  look_ahead(weight, ahead);
  std::array<BitmaskRow, 2> outputs;
  std::array<float, 8> sums;
  int64_t count = 1;
  for (int64_t output = begin; output < end; output += count) {
    count = std::min<int64_t>(code.most_outputs, end - output);
    for (int64_t j = 0; j < count; ++j) {
      outputs[static_cast<size_t>(j)] = rows.at(output + j, static_cast<size_t>(j));
    }
    int64_t some = 1;
    for (int64_t row = 0; row < x.rows(); row += some) {
      const int which = x.rows() - row >= 4 ? 2 : x.rows() - row >= 2 ? 1 : 0;
      some = int64_t{1} << which;
      BitmaskCall call = x.call(row);
      call.values_ahead = ahead.values_ahead;
      call.mask_ahead = ahead.mask_ahead;
      code.blocks[count - 1][which](call, outputs.data(), sums.data());
      for (int64_t r = 0; r < some; ++r) {
        for (int64_t j = 0; j < count; ++j) {
          const float scale = weight.mask.scales == nullptr ? 1 : weight.mask.scales[output + j];
          y[(row + r) * weight.outputs + output + j] =
              sums[static_cast<size_t>(r * count + j)] * scale;
        }
      }
    }
  }
}

void unpack_bitmask(const StoredMatrix& matrix, int64_t begin, int64_t end, float* out,
                    CpuLevel level) {
  const BitmaskCode code = code_of(matrix.type, matrix.columns, level);
  Rows rows(matrix, 1);
  for (int64_t output = begin; output < end; ++output, out += matrix.columns) {
    code.unpack(rows.at(output, 0), matrix.columns, out);
    if (matrix.mask.scales == nullptr) continue;
    const float scale = matrix.mask.scales[output];
    for (int64_t i = 0; i < matrix.columns; ++i) out[i] *= scale;
  }
}

int64_t bitmask_bytes_before(const StoredMatrix& matrix, int64_t output) {
  if (output == 0) return 0;
  const int64_t numbers = row_end(matrix, output - 1) - matrix.mask.row_offsets[0];
  return output * matrix.row_bytes + numbers * number_bytes(matrix.type);
}

}  // namespace prunus::kernel
