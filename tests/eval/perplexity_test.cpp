#include "prunus/eval/perplexity.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"

#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test {
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

}  // namespace
}  // namespace prunus::test
