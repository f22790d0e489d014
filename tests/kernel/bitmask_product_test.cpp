#include "prunus/kernel/bitmask_product.h"

#include <cstring>
#include <limits>
#include <sys/mman.h>
#include <unistd.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <gtest/gtest.h>

#include "prunus/io/bitmask.h"
#include "prunus/kernel/row_product.h"

namespace prunus::kernel::bitmask_product_test {
namespace {

double gap(const at::Tensor& got, const at::Tensor& exact) {
  return ((got.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

BitmaskMatrix sparse(int64_t rows, int64_t columns, double zeros, bool integers) {
  const at::Tensor dense = at::randn({rows, columns}) * (at::rand({rows, columns}) >= zeros);
  return integers ? bitmask_of_rounded(dense) : bitmask_of(dense.to(at::kBFloat16));
}

StoredMatrix stored(const BitmaskMatrix& matrix) {
  const bool integers = matrix.scales.defined();
  return {integers ? Stored::BitmaskInt8 : Stored::BitmaskBFloat16,
          matrix.values.const_data_ptr(),
          matrix.mask.size(1),
          matrix.rows(),
          matrix.columns,
          {matrix.mask.const_data_ptr<uint8_t>(), matrix.row_offsets.const_data_ptr<int64_t>(),
           matrix.values.numel(), integers ? matrix.scales.const_data_ptr<float>() : nullptr}};
}

// Of the matrix with its zeros, in FP64.
at::Tensor exact_product(const at::Tensor& x, const BitmaskMatrix& matrix) {
  return at::linear(x.to(at::kDouble), expanded(matrix).to(at::kDouble));
}

at::Tensor multiplied(const at::Tensor& x, const BitmaskMatrix& matrix, CpuLevel level) {
  at::Tensor y = at::empty({x.size(0), matrix.rows()});
  const RowProduct product{stored(matrix), nullptr, y.mutable_data_ptr<float>()};
  row_products(x.const_data_ptr<float>(), x.size(0), {&product, 1}, level);
  return y;
}

class Bitmask : public testing::TestWithParam<std::tuple<CpuLevel, bool>> {
 protected:
  const CpuLevel level_ = std::get<0>(GetParam());
  const bool integers_ = std::get<1>(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Levels, Bitmask,
                         testing::Combine(testing::ValuesIn(cpu_levels()), testing::Bool()),
                         [](const auto& one) {
                           return std::string(name_of_cpu_level(std::get<0>(one.param))) +
                                  (std::get<1>(one.param) ? "_int8" : "_bf16");
                         });

TEST_P(Bitmask, EqualsFloat64ForEveryShapeAndShareOfZeros) {
  at::manual_seed(1);
  for (const auto& [out, in] :
       {std::pair{1, 1}, {7, 3}, {5, 63}, {6, 64}, {33, 65}, {130, 576}, {9, 1111}, {3, 4096}}) {
    for (const double zeros : {0.0, 0.5, 0.9}) {
      const BitmaskMatrix matrix = sparse(out, in, zeros, integers_);
      for (const int64_t rows : {1, 2, 3, 5, 7, 8}) {
        const at::Tensor x = at::randn({rows, in});
        const at::Tensor y = multiplied(x, matrix, level_), exact = exact_product(x, matrix);
        const double norm = exact.norm().item<double>();
        if (norm == 0) {
          EXPECT_EQ(y.abs().max().item<float>(), 0);
        } else {
          EXPECT_LT(gap(y, exact), 1e-6) << out << 'x' << in << ' ' << zeros << ' ' << rows;
        }
      }
    }
  }
}

TEST_P(Bitmask, KeepsToFloat32WhereOneNumberIsAThousandTimesTheOthers) {
  at::manual_seed(2);
  const BitmaskMatrix matrix = sparse(64, 2048, 0.5, integers_);
  at::Tensor x = at::randn({1, 2048});
  x[0][77] = 1000;
  const at::Tensor exact = exact_product(x, matrix);
  EXPECT_LT(gap(multiplied(x, matrix, level_), exact), 3e-6);
  // Rows that do not see it: half the last digit of 1000 in each of a thousand numbers.
  const at::Tensor error = (multiplied(x, matrix, level_).to(at::kDouble) - exact).abs();
  EXPECT_LT(error.max().item<double>(), 2e-2 * exact.abs().median().item<double>());
}

TEST_P(Bitmask, GivesOneRowTheSameBitsWhateverStandsBesideIt) {
  at::manual_seed(3);
  const BitmaskMatrix matrix = sparse(301, 200, 0.6, integers_);
  const at::Tensor x = at::randn({8, 200});
  const at::Tensor all = multiplied(x, matrix, level_);
  const int threads = at::get_num_threads();
  for (int64_t row = 0; row < 8; ++row) {
    at::set_num_threads(row % 2 == 0 ? 1 : 2);
    EXPECT_TRUE(at::equal(multiplied(x.narrow(0, row, 1), matrix, level_)[0], all[row])) << row;
  }
  at::set_num_threads(threads);
}

TEST_P(Bitmask, StandsBesideOtherProductsAndBiases) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({3, 640});
  const BitmaskMatrix one = sparse(301, 640, 0.3, integers_), two = sparse(77, 640, 0.9, integers_);
  const BitmaskMatrix other = sparse(200, 640, 0.5, !integers_);
  const at::Tensor plain = at::randn({120, 640}).to(at::kBFloat16), bias = at::randn({77});
  std::vector<at::Tensor> y;
  for (const int64_t out : {301, 77, 200, 120}) y.push_back(at::empty({3, out}));
  const auto to = [&](size_t i) { return y[i].mutable_data_ptr<float>(); };
  const std::vector<RowProduct> list = {{stored(one), nullptr, to(0)},
                                        {stored(two), &bias, to(1)},
                                        {stored(other), nullptr, to(2)},
                                        {stored_matrix(plain), nullptr, to(3)}};
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  row_products(x.const_data_ptr<float>(), 3, list, level_);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(y[0], multiplied(x, one, level_)));
  EXPECT_TRUE(at::equal(y[1], multiplied(x, two, level_) + bias));
  EXPECT_TRUE(at::equal(y[2], multiplied(x, other, level_)));
  EXPECT_LT(gap(y[3], at::linear(x.to(at::kDouble), plain.to(at::kDouble))), 1e-6);
}

TEST_P(Bitmask, MultipliesSomeRowsOfAMatrix) {
  at::manual_seed(5);
  const BitmaskMatrix matrix = sparse(90, 130, 0.5, integers_);
  const at::Tensor x = at::randn({2, 130});
  StoredMatrix some = stored(matrix);
  some.outputs = 30;
  some.mask.bits += 20 * some.row_bytes;
  some.mask.row_offsets += 20;
  some.mask.end = matrix.row_offsets[50].item<int64_t>();
  if (integers_) some.mask.scales += 20;
  at::Tensor y = at::empty({2, 30});
  const RowProduct product{some, nullptr, y.mutable_data_ptr<float>()};
  row_products(x.const_data_ptr<float>(), 2, {&product, 1}, level_);
  EXPECT_TRUE(at::equal(y, multiplied(x, matrix, level_).narrow(1, 20, 30)));
}

TEST_P(Bitmask, UnpacksTheSameBits) {
  at::manual_seed(6);
  for (const int64_t columns : {1, 8, 63, 64, 200, 577}) {
    const BitmaskMatrix matrix = sparse(19, columns, 0.5, integers_);
    at::Tensor values = at::full({15, columns}, -1.0);
    unpack_rows(stored(matrix), 3, 18, values.mutable_data_ptr<float>(), level_);
    EXPECT_TRUE(at::equal(values, expanded(matrix).to(at::kFloat).narrow(0, 3, 15))) << columns;
  }
}

// Numbers and masks end where the pages do that may be read.
TEST_P(Bitmask, ReadsNothingBehindTheNumbersOrTheMask) {
  at::manual_seed(7);
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const BitmaskMatrix matrix = sparse(40, 192, 0.8, integers_);
  const auto at_the_end = [&](const at::Tensor& tensor) {
    const size_t bytes = (tensor.nbytes() + page - 1) / page * page;
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::mprotect(memory + bytes, page, PROT_NONE);
    char* begin = memory + bytes - tensor.nbytes();
    std::memcpy(begin, tensor.const_data_ptr(), tensor.nbytes());
    return at::from_blob(
        begin, tensor.sizes(), [=](void*) { ::munmap(memory, bytes + page); }, tensor.options());
  };
  BitmaskMatrix guarded = matrix;
  guarded.values = at_the_end(matrix.values);
  guarded.mask = at_the_end(matrix.mask);
  const at::Tensor x = at::randn({1, 192});
  EXPECT_TRUE(at::equal(multiplied(x, guarded, level_), multiplied(x, matrix, level_)));
  at::Tensor values = at::empty({40, 192});
  unpack_rows(stored(guarded), 0, 40, values.mutable_data_ptr<float>(), level_);
  EXPECT_TRUE(at::equal(values, expanded(matrix).to(at::kFloat)));
}

TEST_P(Bitmask, GivesZerosAndNoNumbersAsTheyAre) {
  const BitmaskMatrix matrix = sparse(6, 100, 0.5, integers_);
  EXPECT_EQ(multiplied(at::zeros({1, 100}), matrix, level_).abs().max().item<float>(), 0);
  EXPECT_EQ(multiplied(at::full({1, 100}, 1e-41), matrix, level_).abs().gt(1e-38).sum().item<int>(),
            0);
  at::Tensor x = at::ones({2, 100});
  x[1].fill_(std::numeric_limits<float>::quiet_NaN());
  const at::Tensor y = multiplied(x, matrix, level_);
  EXPECT_TRUE(y[0].isfinite().all().item<bool>());
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
  const BitmaskMatrix none = sparse(6, 100, 1.0, integers_);
  EXPECT_EQ(multiplied(at::ones({1, 100}), none, level_).abs().max().item<float>(), 0);
}

TEST_P(Bitmask, HasEveryNumberOfItsType) {
  // Each alone in a row, times 1: all BF16 but those that are none, all signed bytes.
  const at::Tensor all =
      integers_ ? at::arange(-128, 128, at::kInt).to(at::kChar)
                : at::arange(-32768, 32768, at::kInt).to(at::kShort).view(at::kBFloat16);
  const int64_t count = all.numel();
  BitmaskMatrix matrix{.values = all,
                       .mask = at::zeros({count, 8}, at::kByte),
                       .row_offsets = at::arange(count, at::kLong),
                       .scales = integers_ ? at::full({count}, 0.5) : at::Tensor(),
                       .columns = 40};
  for (int64_t row = 0; row < count; ++row) {
    matrix.mask.mutable_data_ptr<uint8_t>()[8 * row + row % 5] =
        static_cast<uint8_t>(1 << (row % 8));
  }
  const at::Tensor y = multiplied(at::ones({1, 40}), matrix, level_)[0];
  const at::Tensor exact = integers_ ? all.to(at::kFloat) * 0.5 : all.to(at::kFloat);
  const at::Tensor normal = exact.abs().ge(1.1754944e-38).logical_or(exact.eq(0));
  const at::Tensor good = exact.isfinite().logical_and(normal);
  EXPECT_TRUE(at::equal(y.masked_select(good), exact.masked_select(good)));
}

}  // namespace
}  // namespace prunus::kernel::bitmask_product_test
