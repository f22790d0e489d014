// Real models against the quality that their makers measured with another program.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/eval/perplexity.h"

#include "support/paths.h"

namespace prunus::test::perplexity_real_test {
namespace {

class RealModel : public testing::TestWithParam<const char*> {};

TEST_P(RealModel, ReproducesTheMeasuredQualityOfEveryLine) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::string dir = shared + "/models/" + GetParam();
  const Model model = open_model(dir);
  const auto tokenizer = load_tokenizer(dir);
  const EvalText text = read_eval_text(dir + "/quality.jsonl", *tokenizer, std::nullopt,
                                       model.config().max_position_embeddings);
  const Perplexity result = score_sequences(model, text.sequences, at::kCPU);
  std::ifstream lines(dir + "/quality.jsonl");
  size_t i = 0;
  double worst = 0;
  double sum = 0;
  for (std::string line; std::getline(lines, line); ++i) {
    const Json record = parse_json(line, "quality.jsonl");
    ASSERT_EQ(text.sequences.at(i), record.at("ids").get<std::vector<int64_t>>());
    const auto nll = record.at("nll_sum").get<double>();
    worst = std::max(worst, std::abs(result.sequence_nll.at(i) / nll - 1));
    sum += nll;
  }
  EXPECT_EQ(i, text.sequences.size());
  EXPECT_LT(worst, 1e-3);
  EXPECT_NEAR(result.nll_sum / sum, 1.0, 1e-4);
  std::printf("%s: ppl %.4f, worst line off by %.1e, sum off by %.1e\n", GetParam(), result.ppl(),
              worst, std::abs(result.nll_sum / sum - 1));
}

INSTANTIATE_TEST_SUITE_P(Models, RealModel,
                         testing::Values("stories260K", "babyllama-105", "sapling-5m"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace prunus::test::perplexity_real_test
