#include "prunus/kernel/row_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <gtest/gtest.h>

#include "prunus/io/gguf_blocks.h"

namespace prunus::kernel::row_product_test {
namespace {

double relative_gap(const at::Tensor& got, const at::Tensor& exact) {
  return ((got.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

class RowProducts : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Levels, RowProducts, testing::ValuesIn(cpu_levels()),
                         [](const auto& one) { return std::string(name_of_cpu_level(one.param)); });

TEST_P(RowProducts, EqualsFloat64ForEveryTypeAndSize) {
  at::manual_seed(1);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    for (const int64_t rows : {1, 2, 3, 5, 8}) {
      for (const auto& [out, in] : {std::pair{1, 1}, {7, 3}, {5, 31}, {130, 576}, {9, 1111}}) {
        const at::Tensor weight = at::randn({out, in}).to(type);
        const at::Tensor x = at::randn({rows, in}), bias = at::randn({out});
        at::Tensor y = at::empty({rows, out});
        row_product(x, weight, bias, y, GetParam());
        const at::Tensor exact =
            at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
        EXPECT_LT(relative_gap(y, exact), 1e-6) << type << rows << " rows, " << out << " x " << in;
      }
    }
  }
}

TEST_P(RowProducts, ReadsRowsThatAreApartAndWritesOtherTypes) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({12, 50}).to(at::kBFloat16).narrow(1, 3, 40);
  ASSERT_TRUE(takes_row_product(weight));
  const at::Tensor x = at::randn({2, 40}).to(at::kBFloat16);
  at::Tensor y = at::empty({2, 12}, at::kBFloat16);
  row_product(x, weight, {}, y, GetParam());
  const at::Tensor exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
  EXPECT_TRUE(at::equal(y, exact.to(at::kFloat).to(at::kBFloat16)));
}

TEST_P(RowProducts, GivesOneRowTheSameBitsWhateverStandsBesideIt) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({300, 200}).to(at::kHalf);
  const at::Tensor x = at::randn({8, 200});
  at::Tensor all = at::empty({8, 300});
  row_product(x, weight, {}, all, GetParam());
  const int threads = at::get_num_threads();
  for (int64_t row = 0; row < 8; ++row) {
    at::set_num_threads(row % 2 == 0 ? 1 : 2);
    at::Tensor one = at::empty({1, 300});
    row_product(x.narrow(0, row, 1), weight, {}, one, GetParam());
    EXPECT_TRUE(at::equal(one[0], all[row])) << row;
  }
  at::set_num_threads(threads);
}

// Subnormal numbers, signed zeros, the largest numbers, infinities, NaN.
TEST_P(RowProducts, WidensEveryHalf) {
  const at::Tensor bits = at::arange(-32768, 32768, at::kInt).to(at::kShort);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    for (const int64_t columns : {16, 32}) {  // one by one, and in vectors
      const at::Tensor weight = bits.view(type).view({-1, 1}).expand({65536, columns}).contiguous();
      const at::Tensor x = at::full({1, columns}, 1.0 / static_cast<double>(columns));
      at::Tensor y = at::empty({1, 65536}), values = at::empty({65536, columns});
      row_product(x, weight, {}, y, GetParam());
      unpack_rows(stored_matrix(weight), 0, 65536, values.mutable_data_ptr<float>(), GetParam());
      const at::Tensor exact = weight.to(at::kFloat);
      const auto same = [](const at::Tensor& one, const at::Tensor& other) {
        return one.eq(other).logical_or(one.isnan().logical_and(other.isnan())).all().item<bool>();
      };
      EXPECT_TRUE(same(y[0], exact.select(1, 0))) << type << ' ' << columns;
      EXPECT_TRUE(same(values, exact)) << type << ' ' << columns;
    }
  }
}

struct Blocks {
  Stored type;
  const char* name;             // ggml's
  std::vector<int64_t> halves;  // bytes of a block that begin an F16 number
};

const Blocks kBlocks[] = {{Stored::Q4_0, "Q4_0", {0}},    {Stored::Q4_1, "Q4_1", {0, 2}},
                          {Stored::Q5_0, "Q5_0", {0}},    {Stored::Q5_1, "Q5_1", {0, 2}},
                          {Stored::Q8_0, "Q8_0", {0}},    {Stored::Q4_K, "Q4_K", {0, 2}},
                          {Stored::Q5_K, "Q5_K", {0, 2}}, {Stored::Q6_K, "Q6_K", {208}}};

// Random bits; the F16 numbers about 0.01 and of both signs, one of a thousand subnormal.
at::Tensor random_blocks(const GgufBlockType& type, const Blocks& blocks, int64_t count) {
  at::Tensor bytes = at::randint(0, 256, {count, type.bytes}, at::kByte);
  at::Tensor scales = at::randn({count}) * 0.01;
  scales[count / 2] = 3e-6;
  for (const int64_t at : blocks.halves) {
    const at::Tensor raw = scales.roll(at).to(at::kHalf).view({-1, 1}).view(at::kByte);
    bytes.narrow(1, at, 2).copy_(raw);
  }
  return bytes;
}

TEST_P(RowProducts, MultipliesBlocksOfGgufAsTheirDequantisedValues) {
  at::manual_seed(4);
  for (const Blocks& blocks : kBlocks) {
    const GgufBlockType& type = *find_gguf_block_type(blocks.name);
    for (const int64_t in : {type.elements, 3 * type.elements}) {
      for (const auto& [rows, out] : {std::pair{1, 1}, {1, 37}, {2, 9}, {7, 70}}) {
        const at::Tensor bytes = random_blocks(type, blocks, out * in / type.elements);
        at::Tensor values = at::empty({out, in});
        dequantize_gguf_rows(type, static_cast<const std::byte*>(bytes.const_data_ptr()), out, in,
                             values.mutable_data_ptr<float>());
        const at::Tensor x = at::randn({rows, in});
        at::Tensor y = at::empty({rows, out});
        const StoredMatrix weight{blocks.type, bytes.const_data_ptr(),
                                  in / type.elements * type.bytes, out, in};
        const RowProduct product{weight, nullptr, y.mutable_data_ptr<float>()};
        row_products(x.const_data_ptr<float>(), rows, {&product, 1}, GetParam());
        const at::Tensor exact = at::linear(x.to(at::kDouble), values.to(at::kDouble));
        EXPECT_LT(relative_gap(y, exact), 1e-6) << blocks.name << ' ' << out << " x " << in;
        at::Tensor unpacked = at::empty({out, in});
        unpack_rows(weight, 0, out, unpacked.mutable_data_ptr<float>(), GetParam());
        EXPECT_LT(relative_gap(unpacked, values.to(at::kDouble)), 1e-7) << blocks.name;
      }
    }
  }
}

TEST_P(RowProducts, DoesSeveralProductsAsEachAlone) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({3, 200});
  std::vector<at::Tensor> weights, biases, together, alone;
  for (const auto& [out, type] :
       {std::pair{301, at::kBFloat16}, {1, at::kFloat}, {77, at::kHalf}, {450, at::kBFloat16}}) {
    weights.push_back(at::randn({out, 200}).to(type));
    biases.push_back(out == 77 ? at::Tensor() : at::randn({out}).to(type));
    together.push_back(at::empty({3, out}));
    alone.push_back(at::empty({3, out}));
  }
  const auto products = [&](std::vector<at::Tensor>& into) {
    std::vector<RowProduct> list;
    for (size_t i = 0; i < weights.size(); ++i) {
      list.push_back({stored_matrix(weights[i]), &biases[i], into[i].mutable_data_ptr<float>()});
    }
    return list;
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  row_products(x.const_data_ptr<float>(), 3, products(together), GetParam());
  at::set_num_threads(threads);
  for (const RowProduct& one : products(alone)) {
    row_products(x.const_data_ptr<float>(), 3, {&one, 1}, GetParam());
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_TRUE(at::equal(together[i], alone[i])) << i;
    const at::Tensor exact =
        at::linear(x.to(at::kDouble), weights[i].to(at::kDouble),
                   biases[i].defined() ? std::optional(biases[i].to(at::kDouble)) : std::nullopt);
    EXPECT_LT(relative_gap(together[i], exact), 1e-6) << i;
  }
}

TEST(TakesRowProduct, WhereRowsOfTwoByteNumbersLieTogether) {
  EXPECT_TRUE(takes_row_product(at::zeros({3, 4}, at::kHalf)));
  EXPECT_FALSE(takes_row_product(at::zeros({3, 4})));
  EXPECT_FALSE(takes_row_product(at::zeros({4, 3}, at::kHalf).t()));
}

}  // namespace
}  // namespace prunus::kernel::row_product_test
