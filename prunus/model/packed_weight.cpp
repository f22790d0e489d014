#include "prunus/model/packed_weight.h"

#include <string_view>
#include <utility>

#include <ATen/ATen.h>

#include "prunus/kernel/row_product.h"
#include "prunus/model/matmul.h"

namespace prunus {

at::Tensor PackedWeight::unpacked() const {
  at::Tensor values = at::empty({rows(), columns}, at::kFloat);
  dequantize_gguf_rows(*blocks, static_cast<const std::byte*>(bytes.const_data_ptr()), rows(),
                       columns, values.mutable_data_ptr<float>());
  return values;
}

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
  if (rows > kernel::kMostRows) {
    return apply_linear(input, weight.unpacked(), bias.defined() ? bias.to(at::kFloat) : bias);
  }
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.rows();
  at::Tensor y = at::empty(sizes, at::kFloat);
  const kernel::RowProduct product{weight.matrix(), &bias, y.mutable_data_ptr<float>()};
  kernel::row_products(input.const_data_ptr<float>(), rows, {&product, 1});
  return y;
}

}  // namespace prunus
