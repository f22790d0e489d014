#include "prunus/model/matmul.h"

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include <gmock/gmock.h>

#include "prunus/base/error.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::matmul_test {
namespace {

// Each library in turn; what the process used before comes back.
class MatmulTest : public testing::TestWithParam<Matmul> {
 protected:
  void SetUp() override { choose_matmul(GetParam()); }
  void TearDown() override { choose_matmul(Matmul::Blas); }
};

// Matrices [rows, columns] of several strides: whole, transposed, columns of a wider one.
std::vector<at::Tensor> laid_out(int64_t rows, int64_t columns) {
  return {at::randn({rows, columns}), at::randn({columns, rows}).t(),
          at::randn({rows, columns + 7}).narrow(1, 3, columns)};
}

// Of less than a block of columns, and of three.
TEST_P(MatmulTest, SecondMomentsEqualFloat64AndAreSymmetric) {
  at::manual_seed(4);
  for (const int64_t columns : {5, 600}) {
    for (const at::Tensor& x : laid_out(70, columns)) {
      const at::Tensor moments = second_moments(x);
      const at::Tensor exact = at::mm(x.t().to(at::kDouble), x.to(at::kDouble));
      EXPECT_LT(relative_error(moments, exact), 1e-6);
      EXPECT_TRUE(at::equal(moments, moments.t()));
    }
  }
}

TEST_P(MatmulTest, LinearEqualsFloat64WhateverTheStrides) {
  at::manual_seed(1);
  for (const at::Tensor& weight : laid_out(37, 24)) {
    for (const int64_t rows : {1, 3, 40}) {
      const at::Tensor x = at::randn({rows, 2, 24});
      const at::Tensor bias = at::randn({37});
      const at::Tensor exact =
          at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      EXPECT_LT(relative_error(apply_linear(x, weight, bias), exact), 1e-6);
      EXPECT_LT(relative_error(apply_linear(x, weight), exact - bias), 1e-6);
    }
  }
}

TEST_P(MatmulTest, GradientsEqualFloat64) {
  at::manual_seed(2);
  const auto gradients = [](const std::vector<at::Tensor>& values, at::ScalarType dtype,
                            auto product_of) {
    std::vector<at::Tensor> inputs;
    for (const at::Tensor& one : values) {
      inputs.push_back(one.to(dtype).detach().clone().requires_grad_(true));
    }
    product_of(inputs[0], inputs[1], inputs[2]).square().sum().backward();
    return std::vector<at::Tensor>{inputs[0].grad(), inputs[1].grad(), inputs[2].grad()};
  };
  constexpr std::pair<at::ScalarType, double> kTypes[] = {{at::kFloat, 1e-6},
                                                          {at::kBFloat16, 0x1p-7}};
  for (const auto& [dtype, tolerance] : kTypes) {
    for (const int64_t batch : {1, 16}) {  // few rows have a product of their own
      const std::vector<at::Tensor> values = {at::randn({batch, 5, 12}).to(dtype),
                                              at::randn({9, 12}).to(dtype),
                                              at::randn({9}).to(dtype)};
      const auto exact = gradients(
          values, at::kDouble,
          [](const auto& a, const auto& b, const auto& c) { return at::linear(a, b, c); });
      const auto ours = gradients(values, dtype, [](const auto& a, const auto& b, const auto& c) {
        return apply_linear(a, b, c);
      });
      for (size_t i = 0; i < exact.size(); ++i) {
        EXPECT_EQ(ours[i].scalar_type(), dtype);
        EXPECT_LT(relative_error(ours[i], exact[i]), tolerance) << dtype << " of " << i;
      }
    }
  }
}

TEST_P(MatmulTest, ProductsEqualFloat64) {
  at::manual_seed(3);
  for (const at::Tensor& a : laid_out(20, 33)) {
    for (const at::Tensor& b : laid_out(33, 11)) {
      const at::Tensor exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      EXPECT_LT(relative_error(product(a, b), exact), 1e-6);
      at::Tensor out = at::empty({20, 30}).narrow(1, 5, 11);
      product_out(out, a, b);
      EXPECT_LT(relative_error(out, exact), 1e-6);
      add_product(out, a, b);
      EXPECT_LT(relative_error(out, 2 * exact), 1e-6);
    }
  }
}

TEST_P(MatmulTest, InputsComeToTheWeightsDtype) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({16, 64}), weight = at::randn({32, 64}).to(at::kBFloat16);
  const at::Tensor y = apply_linear(x, weight);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  const at::Tensor exact = at::linear(x.to(at::kBFloat16).to(at::kDouble), weight.to(at::kDouble));
  EXPECT_LT(relative_error(y, exact), 0x1p-8);  // of the result alone: sums are FP32
  at::Tensor sum = at::zeros({16, 32});
  add_product(sum, x.to(at::kBFloat16), weight.t());
  EXPECT_LT(relative_error(sum, exact), 0x1p-8);
}

// By kernel/row_product, which needs no rounding of the input.
TEST_P(MatmulTest, FewRowsOfHalvesKeepTheInput) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({2, 1, 64}), weight = at::randn({32, 64}).to(at::kHalf);
  const at::Tensor bias = at::randn({32}).to(at::kHalf);
  const at::Tensor y = apply_linear(x, weight, bias);
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{2, 1, 32}));
  EXPECT_EQ(y.scalar_type(), at::kHalf);
  const at::Tensor exact =
      at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  EXPECT_LT(relative_error(y, exact), 0x1p-11);
}

INSTANTIATE_TEST_SUITE_P(Libraries, MatmulTest, testing::Values(Matmul::Blas, Matmul::OneDnn),
                         [](const auto& given) {
                           return std::string(name_of_matmul(given.param));
                         });

TEST(Matmul, MeasuresOnceAndKeepsToIt) {
  choose_matmul(Matmul::Auto);
  const Matmul used = used_matmul();
  EXPECT_NE(used, Matmul::Auto);
  EXPECT_EQ(used_matmul(), used);
  choose_matmul(Matmul::Blas);
  EXPECT_EQ(used_matmul(), Matmul::Blas);
}

TEST(Matmul, HalvesAloneAreWidened) {
  const at::Tensor x = at::ones({2, 2}, at::kBFloat16);
  EXPECT_FALSE(widens_halves(at::ones({2, 2})));
  EXPECT_EQ(widens_halves(x), widens_halves(x));
}

// No product of this program can be faster than the rate that its share is told of.
TEST(Matmul, TheRateIsThatOfTheFastestLibrary) {
  const double rate = measure_matmul_flops(at::kCPU, at::kBFloat16);
  EXPECT_GT(rate, 1e8);
  EXPECT_LT(rate, 1e15);
  const double again = measure_matmul_flops(at::kCPU, at::kFloat);
  EXPECT_GT(rate, again / 4);  // of FP32 too where BF16 is slower; the machine may be busy
  EXPECT_EQ(name_of_half_products(),
            widens_halves(at::ones({1}, at::kBFloat16)) ? "float32" : "native");
}

TEST(Matmul, NamesAreReadAsTheyAreWritten) {
  for (const Matmul one : {Matmul::Auto, Matmul::Blas, Matmul::OneDnn}) {
    EXPECT_EQ(parse_matmul(name_of_matmul(one)), one);
  }
  expect_error(ErrorKind::InvalidArgument, "known: auto, mkl, onednn",
               [] { parse_matmul("blis"); });
}

}  // namespace
}  // namespace prunus::test::matmul_test
