#include "prunus/eval/compare_logits.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/eval/verify.h"
#include "prunus/text/utf8.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::compare_logits_test {
namespace {

EvalText some_sequences() {
  return {.protocol = {}, .sequences = {{1, 2, 3}, {4, 5, 6, 7, 8, 9, 10}, {11, 12}, {3, 3, 3, 3}}};
}

// One sequence and one place after another, in FP64 from the logits on; the first `ids` of each.
LogitComparison brute_force(const Model& first, const Model& other, const EvalText& text,
                            int64_t ids) {
  LogitComparison sums;
  sums.ids = ids;
  for (size_t i = 0; i < text.sequences.size(); ++i) {
    const std::vector<int64_t>& sequence = text.sequences[i];
    const at::Tensor input = at::tensor(sequence, at::kLong).unsqueeze(0);
    const at::Tensor a = logits_of(first, input)[0].narrow(1, 0, ids).to(at::kDouble);
    const at::Tensor b = logits_of(other, input)[0].narrow(1, 0, ids).to(at::kDouble);
    for (int64_t place = 0; place + 1 < static_cast<int64_t>(sequence.size()); ++place) {
      double kl = 0, a_sum = 0, b_sum = 0;
      for (int64_t id = 0; id < ids; ++id) {
        a_sum += std::exp(a[place][id].item<double>());
        b_sum += std::exp(b[place][id].item<double>());
      }
      for (int64_t id = 0; id < ids; ++id) {
        const double x = a[place][id].item<double>(), y = b[place][id].item<double>();
        const double diff = std::abs(x - y);
        sums.mean_abs_diff += diff;
        sums.max_abs_logit = std::max(sums.max_abs_logit, std::abs(x));
        if (diff > sums.max_abs_diff) {
          sums.max_abs_diff = diff;
          sums.worst = {static_cast<int64_t>(i), place, id, x, y};
        }
        kl += std::exp(x) / a_sum * (x - std::log(a_sum) - y + std::log(b_sum));
      }
      const int64_t next = sequence[static_cast<size_t>(place) + 1];
      sums.nll -= a[place][next].item<double>() - std::log(a_sum);
      sums.other_nll -= b[place][next].item<double>() - std::log(b_sum);
      sums.top1_agreement += a[place].argmax().item<int64_t>() == b[place].argmax().item<int64_t>();
      sums.mean_kl += kl;
      sums.max_kl = std::max(sums.max_kl, kl);
      ++sums.tokens;
    }
  }
  const auto tokens = static_cast<double>(sums.tokens);
  sums.mean_abs_diff /= tokens * static_cast<double>(ids);
  for (double* figure : {&sums.mean_kl, &sums.top1_agreement, &sums.nll, &sums.other_nll}) {
    *figure /= tokens;
  }
  return sums;
}

void expect_equal(const LogitComparison& got, const LogitComparison& expected) {
  EXPECT_EQ(got.tokens, expected.tokens);
  EXPECT_EQ(got.ids, expected.ids);
  EXPECT_NEAR(got.max_abs_diff, expected.max_abs_diff, 1e-5);
  EXPECT_NEAR(got.mean_abs_diff, expected.mean_abs_diff, 1e-6);
  EXPECT_NEAR(got.max_abs_logit, expected.max_abs_logit, 1e-5);
  EXPECT_NEAR(got.mean_kl, expected.mean_kl, 1e-6);
  EXPECT_NEAR(got.max_kl, expected.max_kl, 1e-6);
  EXPECT_EQ(got.top1_agreement, expected.top1_agreement);
  EXPECT_NEAR(got.nll, expected.nll, 1e-6);
  EXPECT_NEAR(got.other_nll, expected.other_nll, 1e-6);
  EXPECT_EQ(got.worst.sequence, expected.worst.sequence);
  EXPECT_EQ(got.worst.place, expected.worst.place);
  EXPECT_EQ(got.worst.id, expected.worst.id);
  EXPECT_NEAR(got.worst.logit, expected.worst.logit, 1e-5);
  EXPECT_NEAR(got.worst.other, expected.worst.other, 1e-5);
}

TEST(CompareLogits, EqualsABruteForceOverEveryPlace) {
  const Model first = tiny_model({}, 1), other = tiny_model({.ffn = 20}, 2);
  const EvalText text = some_sequences();
  expect_equal(compare_logits({first, at::kCPU}, {other, at::kCPU}, text),
               brute_force(first, other, text, 29));
}

TEST(CompareLogits, IsTheSameInPartsAsAtOnce) {
  const Model first = tiny_model({}, 1), other = tiny_model({}, 2);
  const EvalText text = some_sequences();
  // Room for eight tokens' hidden states, so that the text goes in three parts.
  const LogitComparison parts =
      compare_logits({first, at::kCPU, 8 * 16 * 4}, {other, at::kCPU}, text);
  expect_equal(parts, brute_force(first, other, text, 29));
}

TEST(CompareLogits, AModelIsItself) {
  const Model model = tiny_model({});
  const LogitComparison same =
      compare_logits({model, at::kCPU}, {model, at::kCPU}, some_sequences());
  EXPECT_EQ(same.tokens, 12);
  EXPECT_EQ(same.max_abs_diff, 0);
  EXPECT_EQ(same.mean_kl, 0);
  EXPECT_EQ(same.top1_agreement, 1);
  EXPECT_GT(same.max_abs_logit, 0);
}

TEST(CompareLogits, OfDifferentVocabulariesTheSmallerCounts) {
  const Model first = tiny_model({.vocab = 29}, 1), other = tiny_model({.vocab = 20}, 2);
  const EvalText text = some_sequences();
  expect_equal(compare_logits({first, at::kCPU}, {other, at::kCPU}, text),
               brute_force(first, other, text, 20));
  EXPECT_EQ(compare_logits({other, at::kCPU}, {first, at::kCPU}, text).ids, 20);
}

TEST(CompareLogits, ALogitThatIsNotFiniteIsAnError) {
  const Model model = tiny_model({});
  const auto weights = copy_weights(model);
  at::Tensor head = weights->tensors.at("lm_head.weight").clone();
  head.mul_(1e38);
  weights->tensors["lm_head.weight"] = head;
  const Model huge(model.config(), weights);
  expect_error(ErrorKind::Numeric, "a logit is not finite", [&] {
    compare_logits({model, at::kCPU}, {huge, at::kCPU}, some_sequences());
  });
  expect_error(ErrorKind::InvalidArgument, "no sequences", [&] {
    compare_logits({model, at::kCPU}, {model, at::kCPU}, {});
  });
}

TEST(VerifyText, IsAPageOfSeveralScripts) {
  const std::string_view text = verify_sample();
  EXPECT_GT(text.size(), 1500U);
  for (const char* part :
       {"plum", "ä", "é", "ñ", "С", "园", "庭", "정", "ا", "म", "def mean", "  "}) {
    EXPECT_NE(text.find(part), text.npos) << part;
  }
}

}  // namespace
}  // namespace prunus::test::compare_logits_test
