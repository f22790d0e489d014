#include "prunus/kernel/one_place.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace prunus::kernel::one_place_test {
namespace {

// [batch, 1, heads·d]
at::Tensor exact_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           double scale, int64_t first) {
  const int64_t times = q.size(1) / k.size(1);
  const auto seen = [&](const at::Tensor& x) {
    return x.narrow(2, first, x.size(2) - first).to(at::kDouble).repeat_interleave(times, 1);
  };
  const at::Tensor scores = at::matmul(q.to(at::kDouble), seen(k).transpose(-1, -2)) * scale;
  return at::matmul(scores.softmax(-1), seen(v)).transpose(1, 2).reshape({q.size(0), 1, -1});
}

class OnePlace : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Levels, OnePlace, testing::ValuesIn(cpu_levels()),
                         [](const auto& one) { return std::string(name_of_cpu_level(one.param)); });

TEST_P(OnePlace, EqualsFloat64ForEveryTypeAndSize) {
  at::manual_seed(1);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t dim : {3, 8, 64, 80, 96, 256}) {
      for (const int64_t length : {1, 2, 17, 100}) {
        const at::Tensor q = at::randn({2, 6, 1, dim}).to(type);
        // As in the cache: with room behind the places, and heads behind places.
        const at::Tensor k = at::randn({2, 2, length + 5, dim}).to(type).narrow(2, 0, length);
        const at::Tensor v = at::randn({2, length, 2, dim}).to(type).transpose(1, 2);
        for (const int64_t first : {int64_t{0}, length / 2}) {
          const at::Tensor exact = exact_attention(q, k, v, 0.3, first);
          const at::Tensor got = attend_one_place(q, k, v, 0.3, first, GetParam());
          EXPECT_EQ(got.scalar_type(), type);
          const double most = type == at::kFloat ? 3e-6 : type == at::kHalf ? 2e-3 : 2e-2;
          EXPECT_LT((got.to(at::kDouble) - exact).abs().max().item<double>(), most)
              << type << " dim " << dim << " length " << length;
        }
      }
    }
  }
}

TEST_P(OnePlace, StandsScoresOfAnySizeAndPassesOnNaN) {
  const at::Tensor q = at::full({1, 1, 1, 16}, 100.0F);
  at::Tensor k = at::full({1, 1, 20, 16}, -100.0F);
  k.select(2, 7).fill_(100.0F);
  at::Tensor v = at::arange(20, at::kFloat).view({1, 1, 20, 1}).expand({1, 1, 20, 16}).contiguous();
  EXPECT_TRUE(
      at::allclose(attend_one_place(q, k, v, 1.0, 0, GetParam()), at::full({1, 1, 16}, 7.0F)));
  k[0][0][3][2] = std::nanf("");
  EXPECT_TRUE(attend_one_place(q, k, v, 1.0, 0, GetParam()).isnan().all().item<bool>());
}

TEST(TakesOnePlace, OnePlaceOfHeadsThatLieTogether) {
  const at::Tensor q = at::zeros({1, 2, 1, 8}), k = at::zeros({1, 2, 5, 8});
  EXPECT_TRUE(takes_one_place(q, k, k));
  EXPECT_FALSE(takes_one_place(k, k, k));
  EXPECT_FALSE(takes_one_place(q, k, k.to(at::kHalf)));
  EXPECT_FALSE(takes_one_place(q.to(at::kDouble), k, k));
}

}  // namespace
}  // namespace prunus::kernel::one_place_test
