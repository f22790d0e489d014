#include "prunus/model/packed_weight.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>

#include "prunus/base/parallel.h"
#include "prunus/kernel/row_product.h"
#include "prunus/model/matmul.h"
#include "prunus/model/model.h"

namespace prunus {

int64_t PackedWeight::nbytes() const {
  return blocks == nullptr ? bitmask.bytes() : static_cast<int64_t>(bytes.nbytes());
}

std::string_view PackedWeight::name() const {
  if (blocks != nullptr) return blocks->name;
  return type == kernel::Stored::BitmaskInt8 ? "bitmask INT8" : "bitmask BF16";
}

kernel::StoredMatrix PackedWeight::matrix() const {
  if (blocks != nullptr) return {type, bytes.const_data_ptr(), bytes.size(1), rows(), columns};
  const auto* offsets = bitmask.row_offsets.const_data_ptr<int64_t>();
  return {type,
          bitmask.values.const_data_ptr(),
          bitmask.mask.size(1),
          rows(),
          columns,
          {bitmask.mask.const_data_ptr<uint8_t>(), offsets, bitmask.values.numel(),
           bitmask.scales.defined() ? bitmask.scales.const_data_ptr<float>() : nullptr}};
}

void PackedWeight::check_finite(const std::string& what) const {
  if (blocks != nullptr) return prunus::check_finite(unpacked(), what);
  prunus::check_finite(bitmask.scales.defined() ? bitmask.scales : bitmask.values, what);
}

std::optional<PackedWeight> packed_bitmask(const BitmaskMatrix& matrix, int64_t begin,
                                           int64_t rows) {
  const bool integers = matrix.values.scalar_type() == at::kChar;
  const bool words = matrix.mask.size(1) == bitmask_row_bytes(matrix.columns);
  if (!words || !(integers || matrix.values.scalar_type() == at::kBFloat16)) return std::nullopt;
  const auto* offsets = matrix.row_offsets.const_data_ptr<int64_t>();
  const int64_t end = begin + rows < matrix.rows() ? offsets[begin + rows] : matrix.values.numel();
  BitmaskMatrix some = matrix;
  some.mask = matrix.mask.narrow(0, begin, rows);
  some.row_offsets = matrix.row_offsets.narrow(0, begin, rows);
  some.values = matrix.values.narrow(0, 0, end);
  if (integers) some.scales = matrix.scales.narrow(0, begin, rows);
  using kernel::Stored;
  return PackedWeight{nullptr,
                      integers ? Stored::BitmaskInt8 : Stored::BitmaskBFloat16,
                      {},
                      matrix.columns,
                      std::move(some)};
}

PackedWeight packed_plain(const at::Tensor& weight) {
  const at::ScalarType type = weight.scalar_type();
  const GgufBlockType* blocks = find_gguf_block_type(type == at::kFloat      ? "F32"
                                                     : type == at::kBFloat16 ? "BF16"
                                                                             : "F16");
  return {blocks, *packed_type(*blocks), weight.view(at::kByte), weight.size(1)};
}

at::Tensor PackedWeight::unpacked() const {
  if (blocks == nullptr) return expanded(bitmask).to(at::kFloat);
  at::Tensor values = at::empty({rows(), columns}, at::kFloat);
  dequantize_gguf_rows(*blocks, static_cast<const std::byte*>(bytes.const_data_ptr()), rows(),
                       columns, values.mutable_data_ptr<float>());
  return values;
}

namespace {

// y = x·Wᵀ, so many outputs at a time that their weights, dequantised, stay in a core's cache.
void multiply_unpacked(const at::Tensor& x, const PackedWeight& weight, at::Tensor& y) {
  constexpr int64_t kNumbers = 1 << 17;
  const int64_t outputs = weight.rows(), columns = weight.columns;
  const int64_t step = std::clamp<int64_t>(kNumbers / columns / 16 * 16, 16, outputs);
  const kernel::StoredMatrix matrix = weight.matrix();
  used_matmul();  // which may measure, and not on one thread of several
  for_each_parallel((outputs + step - 1) / step, [&](int64_t piece) {
    const int64_t begin = piece * step, count = std::min(step, outputs - begin);
    const at::Tensor values = at::empty({count, columns}, at::kFloat);
    kernel::unpack_rows(matrix, begin, begin + count, values.mutable_data_ptr<float>());
    at::Tensor some = y.narrow(1, begin, count);
    product_out(some, x, values.t());
  });
}

}  // namespace

std::optional<kernel::Stored> packed_type(const GgufBlockType& blocks) {
  using kernel::Stored;
  constexpr std::pair<std::string_view, Stored> kTypes[] = {
      {"F32", Stored::Float}, {"BF16", Stored::BFloat16}, {"F16", Stored::Half},
      {"Q4_0", Stored::Q4_0}, {"Q4_1", Stored::Q4_1},     {"Q5_0", Stored::Q5_0},
      {"Q5_1", Stored::Q5_1}, {"Q8_0", Stored::Q8_0},     {"Q4_K", Stored::Q4_K},
      {"Q5_K", Stored::Q5_K}, {"Q6_K", Stored::Q6_K}};
  for (const auto& [name, type] : kTypes) {
    if (name == blocks.name) return type;
  }
  return std::nullopt;
}

at::Tensor packed_linear(const at::Tensor& x, const PackedWeight& weight, const at::Tensor& bias) {
  const at::Tensor input = x.to(at::kFloat).contiguous();
  const int64_t rows = input.numel() / weight.columns;
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.rows();
  at::Tensor y = at::empty(sizes, at::kFloat);
  if (rows > kernel::kMostRows) {
    at::Tensor flat = y.view({rows, weight.rows()});
    multiply_unpacked(input.view({rows, weight.columns}), weight, flat);
    if (bias.defined()) y.add_(bias);
    return y;
  }
  const kernel::RowProduct product{weight.matrix(), &bias, y.mutable_data_ptr<float>()};
  kernel::row_products(input.const_data_ptr<float>(), rows, {&product, 1});
  return y;
}

}  // namespace prunus
