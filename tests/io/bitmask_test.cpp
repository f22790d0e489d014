#include "prunus/io/bitmask.h"

#include <ATen/ATen.h>

#include "tests/io/fixture.h"

namespace prunus::bitmask_test {
namespace {

using ::testing::HasSubstr;
using testing_io::error_of;

at::Tensor sparse(int64_t rows, int64_t columns, at::ScalarType type, double zeros = 0.5) {
  const at::Tensor kept = at::rand({rows, columns}) >= zeros;
  return (at::randn({rows, columns}) * kept).to(type);
}

// Written out by hand: columns 0, 3, 8 of the first row; none; columns 1 and 9.
BitmaskMatrix small() {
  const at::Tensor dense = at::tensor({5.f, 0.f, 0.f, -1.f, 0.f, 0.f, 0.f, 0.f, 2.f, 0.f,  //
                                       0.f, 0.f, 0.f, 0.f,  0.f, 0.f, 0.f, 0.f, 0.f, 0.f,  //
                                       0.f, 3.f, 0.f, 0.f,  0.f, 0.f, 0.f, 0.f, 0.f, 4.f});
  return bitmask_of(dense.view({3, 10}).to(at::kBFloat16));
}

TEST(Bitmask, HoldsTheNumbersAndWhereTheyStand) {
  const BitmaskMatrix matrix = small();
  EXPECT_TRUE(at::equal(matrix.values.to(at::kFloat), at::tensor({5.f, -1.f, 2.f, 3.f, 4.f})));
  EXPECT_TRUE(at::equal(matrix.row_offsets, at::tensor({0, 3, 3}, at::kLong)));
  const at::Tensor mask = at::tensor(
      {9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0}, at::kByte);
  EXPECT_TRUE(at::equal(matrix.mask, mask.view({3, 8})));
  EXPECT_EQ(matrix.columns, 10);
  EXPECT_EQ(matrix.bytes(), 5 * 2 + 24 + 24);
}

TEST(Bitmask, ExpandsToTheSameBits) {
  at::manual_seed(1);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (const auto& [rows, columns] :
         {std::pair{1, 1}, {3, 8}, {7, 63}, {130, 64}, {5, 65}, {2, 200}}) {
      for (const double zeros : {0.0, 0.5, 0.9, 1.0}) {
        const at::Tensor dense = sparse(rows, columns, type, zeros);
        const BitmaskMatrix matrix = bitmask_of(dense);
        check_bitmask(matrix, "m");
        EXPECT_TRUE(at::equal(expanded(matrix), dense)) << type << rows << 'x' << columns;
        EXPECT_EQ(matrix.values.numel(), dense.ne(0).sum().item<int64_t>());
      }
    }
  }
}

TEST(Bitmask, TakesMinusZeroForZero) {
  const BitmaskMatrix matrix = bitmask_of(at::tensor({-0.0f, 1.0f}).view({1, 2}));
  EXPECT_EQ(matrix.values.numel(), 1);
}

TEST(Bitmask, ReadsMasksOfOtherSoftwareWithoutPadding) {
  at::manual_seed(2);
  const at::Tensor dense = sparse(9, 100, at::kBFloat16);
  BitmaskMatrix matrix = bitmask_of(dense);
  matrix.mask = matrix.mask.narrow(1, 0, 13).contiguous();
  check_bitmask(matrix, "m");
  EXPECT_TRUE(at::equal(expanded(matrix), dense));
}

TEST(Bitmask, RoundsARowToEightBits) {
  // Steps of 1/8, of nothing, of 1/2. Halves of a step go to the even number.
  const at::Tensor dense =
      at::tensor({15.875f, 0.f, -0.3125f, 0.0625f, 0.f, 0.f, 0.f, 0.f, -63.5f, 0.f, 0.75f, 50.f})
          .view({3, 4});
  const BitmaskMatrix matrix = bitmask_of_rounded(dense);
  check_bitmask(matrix, "m");
  EXPECT_TRUE(at::equal(matrix.values, at::tensor({127, -2, -127, 2, 100}, at::kChar)));
  EXPECT_TRUE(at::equal(matrix.scales, at::tensor({0.125f, 0.f, 0.5f})));
  const at::Tensor exact =
      at::tensor({15.875f, 0.f, -0.25f, 0.f, 0.f, 0.f, 0.f, 0.f, -63.5f, 0.f, 1.f, 50.f})
          .view({3, 4});
  EXPECT_TRUE(at::equal(expanded(matrix), exact));
  EXPECT_EQ(matrix.dtype(), at::kFloat);
}

TEST(Bitmask, RoundsByAtMostHalfAStep) {
  at::manual_seed(3);
  const at::Tensor dense = sparse(40, 333, at::kBFloat16).to(at::kFloat);
  const at::Tensor step = dense.abs().amax(1, true) / 127;
  const at::Tensor error = (expanded(bitmask_of_rounded(dense)) - dense).abs();
  EXPECT_TRUE((error <= 0.50001 * step).all().item<bool>());
}

// What a file may say and a reader may not believe.
TEST(Bitmask, RefusesWhatContradictsItself) {
  const auto refused = [](const char* message, auto damage) {
    BitmaskMatrix matrix = small();
    damage(matrix);
    const Error error = error_of([&] { check_bitmask(matrix, "f: tensor 'a.weight'"); });
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_THAT(error.what(), HasSubstr("f: tensor 'a.weight'"));
    return error.kind();
  };
  using M = BitmaskMatrix&;
  const std::pair<const char*, std::function<void(M)>> kDamages[] = {
      {"5 values, but the mask has 6 bits", [](M m) { m.mask[2][0] = 3; }},
      {"4 values, but the mask has 5 bits", [](M m) { m.values = m.values.narrow(0, 0, 4); }},
      {"row 1 begins at value 3, but the rows before it have 4", [](M m) { m.mask[0][0] = 11; }},
      {"row 1 begins at value 2", [](M m) { m.row_offsets[1] = 2; }},
      {"row 0 begins at value -1", [](M m) { m.row_offsets[0] = -1; }},
      {"row 2 begins at value 4611686018427387904",
       [](M m) { m.row_offsets[2] = int64_t{1} << 62; }},
      {"bits behind the last of 10 columns", [](M m) { m.mask[1][1] = 4; }},
      {"bits behind the last of 10 columns", [](M m) { m.mask[1][7] = 128; }},
      {"expected U8 [rows, 2 or 8]", [](M m) { m.mask = m.mask.narrow(1, 0, 7).contiguous(); }},
      {"expected U8 [rows, 9 or 16]", [](M m) { m.columns = 65; }},
      {"expected U8", [](M m) { m.mask = m.mask.to(at::kChar); }},
      {"-3 columns", [](M m) { m.columns = -3; }},
      {"expected I64 [3]", [](M m) { m.row_offsets = m.row_offsets.narrow(0, 0, 2); }},
      {"expected I64 [3]", [](M m) { m.row_offsets = m.row_offsets.to(at::kInt); }},
      {"values of shape [1, 5]", [](M m) { m.values = m.values.unsqueeze(0); }},
      {"need a scale for each of the 3 rows", [](M m) { m.values = m.values.to(at::kChar); }},
      {"need a scale for each of the 3 rows",
       [](M m) {
         m.values = m.values.to(at::kChar);
         m.scales = at::ones({2});
       }},
  };
  for (const auto& [message, damage] : kDamages) {
    EXPECT_EQ(refused(message, damage), ErrorKind::Corrupt) << message;
  }
  EXPECT_EQ(refused("values of type Double", [](M m) { m.values = m.values.to(at::kDouble); }),
            ErrorKind::Unsupported);
}

}  // namespace
}  // namespace prunus::bitmask_test
