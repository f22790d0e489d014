#include "prunus/model/small_heads.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/base/cpu.h"
#include "prunus/base/error.h"

namespace prunus::small_heads_test {
namespace {

struct States {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
};

// As the decoder has them: heads split off the last axis, so places are not next to each other.
States some_states(int64_t batch, int64_t heads, int64_t kv_heads, int64_t seq, int64_t dim) {
  at::manual_seed(7);
  const auto draw = [&](int64_t count) {
    return at::randn({batch, seq, count, dim}).transpose(1, 2);
  };
  return {draw(heads), draw(kv_heads), draw(kv_heads)};
}

// The definition in FP64: of one place and head on the places of a path, [dim].
at::Tensor plain_attention(const States& x, int64_t head, const std::vector<int64_t>& seen,
                           double scale) {
  const int64_t seq = x.q.size(2);
  const int64_t kv_head = head / (x.q.size(1) / x.k.size(1));
  const auto at_place = [&](const at::Tensor& t, int64_t h, int64_t place) {
    return t[place / seq][h][place % seq].to(at::kDouble);
  };
  const at::Tensor query = at_place(x.q, head, seen.back());
  std::vector<double> scores;
  double largest = -std::numeric_limits<double>::infinity();
  for (const int64_t place : seen) {
    scores.push_back(scale * query.dot(at_place(x.k, kv_head, place)).item<double>());
    largest = std::max(largest, scores.back());
  }
  at::Tensor mixed = at::zeros({x.q.size(3)}, at::kDouble);
  double sum = 0;
  for (size_t j = 0; j < seen.size(); ++j) {
    const double weight = std::exp(scores[j] - largest);
    sum += weight;
    mixed += weight * at_place(x.v, kv_head, seen[j]);
  }
  return mixed / sum;
}

double worst_error(const States& x, const at::Tensor& out, const std::vector<int64_t>& path,
                   int64_t start, double scale) {
  double worst = 0;
  const int64_t dim = x.q.size(3);
  for (size_t i = static_cast<size_t>(start); i < path.size(); ++i) {
    const std::vector<int64_t> seen(path.begin(), path.begin() + static_cast<int64_t>(i) + 1);
    for (int64_t head = 0; head < x.q.size(1); ++head) {
      const at::Tensor got = out.flatten(0, 1)[path[i]].narrow(0, head * dim, dim);
      const at::Tensor wanted = plain_attention(x, head, seen, scale);
      worst = std::max(worst, (got.to(at::kDouble) - wanted).abs().max().item<double>());
    }
  }
  return worst;
}

at::Tensor empty_output(const States& x) {
  return at::full({x.q.size(0), x.q.size(2), x.q.size(1) * x.q.size(3)}, -7.0F);
}

// With every kernel of this machine.
class SmallHeads : public testing::TestWithParam<int64_t> {
 protected:
  const at::NoGradGuard no_grad_;
};

INSTANTIATE_TEST_SUITE_P(Lanes, SmallHeads, testing::ValuesIn(small_heads_lanes()),
                         testing::PrintToStringParamName());
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SmallHeads);

TEST_P(SmallHeads, AreTheDefinitionForEveryWidthAndLength) {
  for (const int64_t dim : {2, 4, 8, 15, 16, 17, 20, 32}) {
    for (const int64_t seq : {1, 3, 4, 5, 15, 16, 17, 33}) {
      const States x = some_states(1, 2, 1, seq, dim);
      at::Tensor out = empty_output(x);
      attend_small_heads(x.q, x.k, x.v, 0.3, out, GetParam());
      std::vector<int64_t> path;
      for (int64_t i = 0; i < seq; ++i) path.push_back(i);
      EXPECT_LT(worst_error(x, out, path, 0, 0.3), 2e-6) << dim << " channels, " << seq;
    }
  }
}

TEST_P(SmallHeads, FollowPathsThroughTheBatch) {
  const States x = some_states(2, 4, 2, 23, 16);
  at::Tensor out = empty_output(x);
  const std::vector<int64_t> first{0, 1, 2, 3, 9, 10, 11, 12, 13};
  const std::vector<int64_t> second{23, 24, 40, 41, 42};
  const std::vector<AttentionPath> paths{{first, 4}, {second, 2}};
  attend_small_heads(x.q, x.k, x.v, paths, 0.25, out, GetParam());
  EXPECT_LT(worst_error(x, out, first, 4, 0.25), 2e-6);
  EXPECT_LT(worst_error(x, out, second, 2, 0.25), 2e-6);
  // Nothing is written where nobody asks.
  EXPECT_EQ(out.ne(-7.0F).any(-1).sum().item<int64_t>(), 5 + 3);
}

TEST_P(SmallHeads, StandScoresOfAnySize) {
  const States x = some_states(1, 1, 1, 40, 16);
  const States large{x.q * 30, x.k * 30, x.v};
  at::Tensor out = empty_output(x);
  attend_small_heads(large.q, large.k, large.v, 1.0, out, GetParam());
  std::vector<int64_t> path;
  for (int64_t i = 0; i < 40; ++i) path.push_back(i);
  // Scores of some thousands carry an error of 1e-4 or so each.
  EXPECT_LT(worst_error(large, out, path, 0, 1.0), 5e-3);
  EXPECT_TRUE(at::isfinite(out).all().item<bool>());
}

TEST_P(SmallHeads, PassOnWhatIsNotANumber) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t place : {2, 17}) {
      const States x = some_states(1, 1, 1, 20, 8);
      x.k[0][0][place].fill_(bad);
      at::Tensor out = empty_output(x);
      attend_small_heads(x.q.abs(), x.k, x.v, 0.3, out, GetParam());
      EXPECT_TRUE(at::isfinite(out[0].narrow(0, 0, place)).all().item<bool>());
      EXPECT_TRUE(at::isnan(out[0].narrow(0, place, 20 - place)).all().item<bool>());
    }
  }
}

TEST_P(SmallHeads, AreTheSameOnAnyThread) {
  const States x = some_states(8, 4, 2, 30, 16);
  at::Tensor alone = empty_output(x), parallel = empty_output(x);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  attend_small_heads(x.q, x.k, x.v, 0.3, alone, GetParam());
  at::set_num_threads(4);
  attend_small_heads(x.q, x.k, x.v, 0.3, parallel, GetParam());
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(alone, parallel));
}

TEST(TakesSmallHeads, WhereTheyAreSmallAndNotTrainedOnAMachineWithAKernel) {
  const at::Tensor small = at::zeros({1, 2, 3, 32});
  const auto takes = [](const at::Tensor& queries) {
    const at::NoGradGuard no_grad;
    return takes_small_heads(queries);
  };
  EXPECT_FALSE(takes(at::zeros({1, 2, 3, 33})));
  EXPECT_FALSE(takes(small.to(at::kDouble)));
  EXPECT_FALSE(takes_small_heads(small));
  EXPECT_EQ(takes(small), cpu_level() >= CpuLevel::Avx2);
}

TEST(AttendSmallHeads, RefusesTensorsThatItWouldReadOrWriteWrongly) {
  const States x = some_states(1, 2, 2, 4, 8);
  at::Tensor out = empty_output(x);
  const at::Tensor apart = x.k.transpose(2, 3).contiguous().transpose(2, 3);
  EXPECT_THROW(attend_small_heads(x.q, apart, x.v, 0.3, out), c10::Error);
  at::Tensor strided = out.transpose(1, 2).contiguous().transpose(1, 2);
  EXPECT_THROW(attend_small_heads(x.q, x.k, x.v, 0.3, strided), c10::Error);
}

TEST(AttendSmallHeads, RefusesVectorsThatTheMachineHasNot) {
  const States x = some_states(1, 1, 1, 3, 8);
  at::Tensor out = empty_output(x);
  EXPECT_THROW(attend_small_heads(x.q, x.k, x.v, 0.3, out, 5), Error);
}

}  // namespace
}  // namespace prunus::small_heads_test
