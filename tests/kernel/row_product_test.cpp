#include "prunus/kernel/row_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <gtest/gtest.h>

namespace prunus::kernel::row_product_test {
namespace {

double relative_gap(const at::Tensor& got, const at::Tensor& exact) {
  return ((got.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

class RowProduct : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Levels, RowProduct, testing::ValuesIn(cpu_levels()),
                         [](const auto& one) { return std::string(name_of_cpu_level(one.param)); });

TEST_P(RowProduct, EqualsFloat64ForEveryTypeAndSize) {
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

TEST_P(RowProduct, ReadsRowsThatAreApartAndWritesOtherTypes) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({12, 50}).to(at::kBFloat16).narrow(1, 3, 40);
  ASSERT_TRUE(takes_row_product(weight));
  const at::Tensor x = at::randn({2, 40}).to(at::kBFloat16);
  at::Tensor y = at::empty({2, 12}, at::kBFloat16);
  row_product(x, weight, {}, y, GetParam());
  const at::Tensor exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
  EXPECT_TRUE(at::equal(y, exact.to(at::kFloat).to(at::kBFloat16)));
}

TEST_P(RowProduct, GivesOneRowTheSameBitsWhateverStandsBesideIt) {
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
TEST_P(RowProduct, WidensEveryHalf) {
  const at::Tensor bits = at::arange(-32768, 32768, at::kInt).to(at::kShort);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor weight = bits.view(type).view({-1, 1}).expand({65536, 16}).contiguous();
    const at::Tensor x = at::full({1, 16}, 0.0625F);
    at::Tensor y = at::empty({1, 65536});
    row_product(x, weight, {}, y, GetParam());
    const at::Tensor exact = weight.select(1, 0).to(at::kFloat);
    const at::Tensor same = y[0].eq(exact).logical_or(y[0].isnan().logical_and(exact.isnan()));
    EXPECT_TRUE(same.all().item<bool>()) << type;
  }
}

TEST(TakesRowProduct, WhereRowsOfTwoByteNumbersLieTogether) {
  EXPECT_TRUE(takes_row_product(at::zeros({3, 4}, at::kHalf)));
  EXPECT_FALSE(takes_row_product(at::zeros({3, 4})));
  EXPECT_FALSE(takes_row_product(at::zeros({4, 3}, at::kHalf).t()));
}

}  // namespace
}  // namespace prunus::kernel::row_product_test
