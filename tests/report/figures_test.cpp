#include "prunus/report/figures.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"

namespace prunus::test::figures_test {
namespace {

std::vector<ModelFigures> read(const std::string& text) {
  return figures_of(parse_json(text, "test"), "dir", "x.json");
}

// The figure of this name; fails the test where there is none.
Figure named(const ModelFigures& model, const std::string& name) {
  const auto found = std::find_if(model.figures.begin(), model.figures.end(),
                                  [&](const Figure& one) { return one.name == name; });
  if (found == model.figures.end()) {
    ADD_FAILURE() << "no figure " << name;
    return {FigureGroup::Origin, "", FigureStyle::Word, ""};
  }
  return *found;
}

TEST(Figures, OfARunThatMadeAModelBelongToItsDirectory) {
  const auto models = read(R"({"format": "prunus-run", "version": 1, "command": "prune",
      "options": {"method": "l2"}, "result": {"parameters": 10, "bytes": 40, "macs_64_tokens": 7.5},
      "parameters_removed": 0.25})");
  ASSERT_EQ(models.size(), 1U);
  EXPECT_EQ(models[0].model, "dir");
  EXPECT_EQ(named(models[0], "made by").value, FigureValue("prune l2"));
  EXPECT_EQ(named(models[0], "parameters").value, FigureValue(int64_t{10}));
  EXPECT_EQ(named(models[0], "MACs, 64 tokens").value, FigureValue(7.5));
  EXPECT_EQ(named(models[0], "parameters removed by the run").value, FigureValue(0.25));
}

TEST(Figures, OfAnEvaluationAreTheSameWithTheHeadOfARunAndWithout) {
  const std::string body = R"("model": "m", "parameters": 5, "results": [
      {"file": "t.txt", "text_sha256": "0123456789abcdef", "protocol": "chunked-8", "seqlen": 8,
       "ppl": 4.5, "tokens": 7}])";
  const auto today = read(
      R"({"format": "prunus-run", "version": 1, "command": "eval", "options": {}, )" + body + "}");
  const auto earlier = read("{" + body + "}");
  for (const auto& models : {today, earlier}) {
    ASSERT_EQ(models.size(), 1U);
    EXPECT_EQ(models[0].model, "m");
    EXPECT_EQ(models[0].figures.size(), 2U);
    EXPECT_EQ(named(models[0], "ppl chunked-8 t.txt, sha256 0123456789ab, 8 per sequence, 7 tokens")
                  .value,
              FigureValue(4.5));
  }
}

TEST(Figures, OfBenchAreThoseOfEveryModelInEitherFormat) {
  const std::string body = R"("device": "cpu", "threads": 2, "peak_memory_bytes": 9, "models": [
      {"model": "a", "parameters": 5, "resident_dtype": "float32", "cases": [{"batch": 1,
       "prompt_tokens": 8, "new_tokens": 4, "prefill_tokens_per_second": {"median": 1.5},
       "first_token_ms": {"median": 2.5}, "decode_tokens_per_second": {"median": 3}}]},
      {"model": "b", "parameters": 4, "resident_dtype": "float32", "cases": []}])";
  for (const char* head : {R"({"format": "prunus-bench", )",
                           R"({"format": "prunus-run", "version": 1, "command": "bench", )"}) {
    const auto models = read(head + body + "}");
    ASSERT_EQ(models.size(), 2U);
    EXPECT_EQ(named(models[0], "first token ms, batch 1, prompt 8 (cpu, 2 threads, float32)").value,
              FigureValue(2.5));
    EXPECT_EQ(models[1].model, "b");
    EXPECT_EQ(models[1].figures.size(), 1U);  // of two models the peak is of neither
  }
}

TEST(Figures, OfAnInspectionAreSizes) {
  const auto models = read(R"({"format": "prunus-run", "version": 1, "command": "inspect",
      "model": "m", "parameters": 5, "bytes": 20})");
  EXPECT_EQ(models[0].model, "m");
  EXPECT_EQ(named(models[0], "bytes of weights").value, FigureValue(int64_t{20}));
}

TEST(Figures, RefusesWhatNoCommandHasWritten) {
  const auto refuses = [](const std::string& text, const std::string& part) {
    expect_error(ErrorKind::Corrupt, part, [&] { read(text); });
  };
  refuses("[1]", "x.json: not a JSON object");
  refuses("{}", "expected a file written by");
  refuses(R"({"format": 3, "model": "m"})", "expected a file written by");
  refuses(R"({"format": "prunus-run", "version": 2, "command": "prune"})",
          "a later prunus wrote it");
  refuses(R"({"format": "prunus-run", "version": 1.5, "command": "prune"})", "whole number");
  refuses(R"({"format": "prunus-run", "version": 1})", "not as prunus writes it");
  refuses(R"({"format": "prunus-run", "version": 1, "command": "compare"})", "table of compare");
  refuses(R"({"model": "m", "results": [{"ppl": 3}]})", "protocol");
}

TEST(Figures, OfSizesAreThoseThatAreThere) {
  EXPECT_TRUE(size_figures(Json::object(), "x").empty());
  EXPECT_EQ(size_figures({{"parameters", 3}, {"bytes", nullptr}}, "x").size(), 1U);
  expect_error(ErrorKind::Corrupt, "x: not as prunus writes it", [] {
    size_figures({{"parameters", Json::array()}}, "x");
  });
}

}  // namespace
}  // namespace prunus::test::figures_test
