#include "prunus/eval/perplexity.h"

#include <cmath>
#include <random>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::perplexity_test {
namespace {

// One token per byte, id = byte; BOS 256.
class Bytes : public Tokenizer {
 public:
  Bytes() {
    special_ = {.bos = 256, .eos = {}, .adds_bos = true};
    vocab_size_ = 257;
  }
  std::vector<int64_t> encode(std::string_view text) const override {
    std::vector<int64_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const int64_t>, bool) const override { return ""; }
  std::string_view kind() const override { return "bytes"; }
};

TEST(ReadEvalText, CutsAPlainFileIntoChunksAndDropsTheRemainder) {
  const TempDir dir;
  write_file(dir / "a.txt", "abcdefgh");
  const EvalText text = read_eval_text(dir / "a.txt", Bytes(), 4, 64);
  EXPECT_EQ(text.protocol, "chunked-4");
  // BOS a b c | d e f g | h is dropped.
  ASSERT_EQ(text.sequences.size(), 2u);
  EXPECT_EQ(text.sequences[0], (std::vector<int64_t>{256, 'a', 'b', 'c'}));
  EXPECT_EQ(text.sequences[1], (std::vector<int64_t>{'d', 'e', 'f', 'g'}));
  EXPECT_EQ(text.seqlen, 4);
  // printf abcdefgh | sha256sum
  EXPECT_EQ(text.sha256, "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab");
}

TEST(ReadEvalText, TakesAJsonlFileDocumentByDocument) {
  const TempDir dir;
  write_file(dir / "a.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"defghijk\"}\n");
  const EvalText text = read_eval_text(dir / "a.jsonl", Bytes(), std::nullopt, 6);
  EXPECT_EQ(text.protocol, "documents-6");
  ASSERT_EQ(text.sequences.size(), 2u);
  EXPECT_EQ(text.sequences[0].size(), 4u);
  EXPECT_EQ(text.sequences[1].size(), 6u);
}

TEST(ReadEvalText, RefusesTooShortTextsAndImpossibleLengths) {
  const TempDir dir;
  write_file(dir / "a.txt", "abc");
  EXPECT_THROW(read_eval_text(dir / "a.txt", Bytes(), 10, 64), Error);
  EXPECT_THROW(read_eval_text(dir / "a.txt", Bytes(), 1, 64), Error);
  EXPECT_THROW(read_eval_text(dir / "a.txt", Bytes(), 65, 64), Error);
}

TEST(ScoreSequences, EqualsLogSoftmaxOfTheFullForwardOneByOne) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<std::vector<int64_t>> sequences{
      {1, 2, 3}, {4, 5, 6, 7, 8, 9, 10}, {11, 12}, {3, 3, 3, 3}};
  // Waves of one batch each (hidden_bytes small), padding inside a batch.
  for (const int64_t hidden_bytes : {int64_t{1}, int64_t{1} << 20}) {
    const Perplexity result = score_sequences(model, sequences, at::kCPU, hidden_bytes);
    EXPECT_EQ(result.tokens, 2 + 6 + 1 + 3);
    double total = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto n = static_cast<int64_t>(sequences[i].size());
      const at::Tensor logits =
          logits_of(model, at::tensor(sequences[i], at::kLong).unsqueeze(0))[0];
      const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), 1);
      double nll = 0;
      for (int64_t t = 0; t + 1 < n; ++t) {
        nll -= log_p[t][sequences[i][static_cast<size_t>(t) + 1]].item<double>();
      }
      EXPECT_NEAR(result.sequence_nll[i], nll, 1e-5 * nll);
      total += nll;
    }
    EXPECT_NEAR(result.ppl(), std::exp(total / 12), 1e-4 * std::exp(total / 12));
  }
}

TEST(ScoreText, ScoresOnlyTheEndOfASequenceWhereAskedTo) {
  const Model model = tiny_model({});
  const std::vector<std::vector<int64_t>> sequences{{1, 2, 3, 4, 5}, {6, 7}, {8, 9, 10, 11}};
  const Perplexity some =
      score_text({model, at::kCPU}, {.protocol = {}, .sequences = sequences, .scored = {2, 1, 3}});
  EXPECT_EQ(some.tokens, 6);
  EXPECT_EQ(some.sequence_tokens, (std::vector<int64_t>{2, 1, 3}));
  // What the first two predictions of the first sequence cost is that of the sequence cut there.
  const Perplexity all = score_sequences(model, sequences, at::kCPU);
  const Perplexity cut = score_sequences(model, {{1, 2, 3}}, at::kCPU);
  EXPECT_NEAR(some.sequence_nll[0], all.sequence_nll[0] - cut.nll_sum, 1e-4);
  EXPECT_NEAR(some.sequence_nll[1], all.sequence_nll[1], 1e-5);
  EXPECT_NEAR(some.sequence_nll[2], all.sequence_nll[2], 1e-5);
}

TEST(ScoreText, RefusesSequencesWithNothingToScore) {
  const Model model = tiny_model({});
  const auto score = [&](std::vector<int64_t> sequence, int64_t scored) {
    score_text({model, at::kCPU},
               {.protocol = {}, .sequences = {std::move(sequence)}, .scored = {scored}});
  };
  expect_error(ErrorKind::InvalidArgument, "needs two tokens", [&] { score({1}, 1); });
  expect_error(ErrorKind::InvalidArgument, "expected 1 to 2", [&] { score({1, 2, 3}, 3); });
  expect_error(ErrorKind::InvalidArgument, "expected 1 to 2", [&] { score({1, 2, 3}, 0); });
}

TEST(RatioEstimate, IsTheSampleDeviationOverRootNWhereWeightsAreEqual) {
  // Means 1, 2, 6 of weight 2: R = 3, sample variance (4 + 1 + 9) / 2 = 7, error sqrt(7 / 3).
  const Estimate estimate = ratio_estimate({2, 4, 12}, {2, 2, 2});
  EXPECT_DOUBLE_EQ(estimate.value, 3.0);
  EXPECT_DOUBLE_EQ(estimate.standard_error.value(), std::sqrt(7.0 / 3.0));
}

TEST(RatioEstimate, WeighsUnequalUnitsByTheDeltaMethod) {
  // R = 8 / 4 = 2; residuals 3 − 2·1 = 1 and 5 − 2·3 = −1; sqrt(2/1 · 2) / 4 = 0.5.
  const Estimate estimate = ratio_estimate({3, 5}, {1, 3});
  EXPECT_DOUBLE_EQ(estimate.value, 2.0);
  EXPECT_DOUBLE_EQ(estimate.standard_error.value(), 0.5);
  EXPECT_DOUBLE_EQ(exp_of(estimate).value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(exp_of(estimate).standard_error.value(), 0.5 * std::exp(2.0));
}

TEST(RatioEstimate, HasNoErrorOfASingleUnit) {
  EXPECT_FALSE(ratio_estimate({3}, {2}).standard_error.has_value());
  EXPECT_FALSE(exp_of(ratio_estimate({3}, {2})).standard_error.has_value());
}

TEST(RatioEstimate, ComesNearTheSpreadOfRepeatedDraws) {
  // 400 texts of 50 units with weights 1 to 4 and sums about twice the weight.
  std::mt19937 random(7);
  std::normal_distribution<double> noise(0.0, 1.0);
  double sum = 0, squares = 0, claimed = 0;
  for (int text = 0; text < 400; ++text) {
    std::vector<double> sums, weights;
    for (int unit = 0; unit < 50; ++unit) {
      weights.push_back(1 + static_cast<double>(random() % 4));
      sums.push_back(2 * weights.back() + noise(random));
    }
    const Estimate estimate = ratio_estimate(sums, weights);
    sum += estimate.value;
    squares += estimate.value * estimate.value;
    claimed += estimate.standard_error.value();
  }
  const double spread = std::sqrt(squares / 400 - (sum / 400) * (sum / 400));
  EXPECT_NEAR(claimed / 400 / spread, 1.0, 0.12);
}

TEST(DocumentPerplexity, DividesByWhatEachDocumentHolds) {
  const EvalText text{.protocol = {},
                      .sequences = {},
                      .documents = {{.sequences = 2, .words = 2, .bytes = 10},
                                    {.sequences = 1, .words = 3, .bytes = 10}}};
  const Perplexity scored{
      .nll_sum = 20, .tokens = 8, .sequence_nll = {4, 6, 10}, .sequence_tokens = {1, 2, 5}};
  const DocumentPerplexity result = document_perplexity(text, scored);
  EXPECT_DOUBLE_EQ(result.nll_per_token.value, 20.0 / 8);
  EXPECT_DOUBLE_EQ(result.nll_per_word.value, 20.0 / 5);
  EXPECT_DOUBLE_EQ(result.nll_per_byte.value, 20.0 / 20);
  // Ten nats and ten bytes in both.
  EXPECT_DOUBLE_EQ(result.nll_per_byte.standard_error.value(), 0.0);
  // Residuals 10 − 4·2 = 2 and 10 − 4·3 = −2; sqrt(2 · 8) / 5.
  EXPECT_DOUBLE_EQ(result.nll_per_word.standard_error.value(), 0.8);
}

}  // namespace
}  // namespace prunus::test::perplexity_test
